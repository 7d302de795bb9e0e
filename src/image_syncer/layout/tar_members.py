"""The members of a tar archive and where they lie in it. Nothing is unpacked, and headers are bounded.

The standard library reads extended headers of any size into memory, and follows sparse maps; archives come from
strangers, so this reads the few forms that writers of layouts use and refuses the others.
"""

import os
from collections.abc import Mapping
from typing import Final

from image_syncer.errors import ProtocolError, Refused, TooLarge
from image_syncer.structs import Struct

MEMBERS_LIMIT: Final = 200_000

_BLOCK: Final = 512
_NAME_LIMIT: Final = 4096
_EXTENDED_LIMIT: Final = 64 * 1024
_LENGTH_DIGITS: Final = 8
_CHECKSUM: Final = slice(148, 156)
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
}
_FILES: Final = frozenset({"0", "\0", "7"})
_LINKS: Final = frozenset({"1", "2"})


class Member(Struct):
    """A file in an archive: *size* bytes from *offset* on; *link* is what it links to instead, empty for a file."""

    offset: int
    size: int
    link: str = ""


class Members(Struct):
    """The *files* of an archive by name. *is_cut*: it ends without its end, so files may be missing."""

    files: Mapping[str, Member]
    is_cut: bool = False


class _Extended(Struct, frozen=False):
    """What extended headers say about the next member."""

    name: str | None = None
    link: str | None = None
    size: int | None = None


def read_members(handle: int, what: str, *, links: bool = False) -> Members:
    """Return the files of the archive *handle*; the last one of a name counts, as for every reader of tar.

    *links*: symbolic links within the archive are members too. `Refused` for names that lead out of the archive, for
    other links, devices, sparse files and compressed archives; `ProtocolError` if it is no archive, or cut off.
    """
    length = os.fstat(handle).st_size
    _refuse_compressed(os.pread(handle, 6, 0), what)
    members: dict[str, Member] = {}
    extended, position = _Extended(), 0
    while header := os.pread(handle, _BLOCK, position).rstrip(b"\0"):
        header = header.ljust(_BLOCK, b"\0")
        _check_header(header, what)
        kind, size = chr(header[156]), _number(header[124:136], what)
        start, position = position + _BLOCK, position + _BLOCK + -(-size // _BLOCK) * _BLOCK
        if kind in "xgLK":
            if size > _EXTENDED_LIMIT:
                raise TooLarge(f"{what}: an extended header of {size} bytes")
            _extend(extended, kind, os.pread(handle, size, start), what)
            continue
        if extended.size is not None:
            size, extended.size = extended.size, None
            position = start + -(-size // _BLOCK) * _BLOCK
        name = _checked_name(extended.name if extended.name is not None else _header_name(header), what)
        link = extended.link if extended.link is not None else _text(header[157:257])
        extended = _Extended()
        if kind == "5":
            continue
        if kind not in _FILES and not (kind == "2" and links):
            raise Refused(f"{what}: {name[:100]!r} is {'a link' if kind in _LINKS else 'no regular file'}")
        if position > length + _BLOCK - 1 or start + size > length:
            raise ProtocolError(f"{what}: cut off within {name[:100]!r}", remedy="write the archive again")
        members[name] = Member(start, 0 if kind in _LINKS else size, link if kind in _LINKS else "")
        if len(members) > MEMBERS_LIMIT:
            raise TooLarge(f"{what}: more than {MEMBERS_LIMIT} files")
    # Two blocks of zeros end an archive (POSIX, pax); some writers leave one out.
    return Members(members, is_cut=position >= length)


def _check_header(header: bytes, what: str) -> None:
    # The checksum counts its own field as blanks. Very old writers summed signed bytes; none of them wrote a layout.
    total = sum(header) - sum(header[_CHECKSUM]) + ord(" ") * _LENGTH_DIGITS
    digits = header[_CHECKSUM].strip(b" \0")
    if not digits.isdigit() or any(digit > ord("7") for digit in digits) or int(digits, 8) != total:
        raise ProtocolError(f"{what}: not a tar archive, or damaged")


def _extend(extended: _Extended, kind: str, content: bytes, what: str) -> None:
    if kind == "L":
        extended.name = _text(content)
    elif kind == "K":
        extended.link = _text(content)
    else:
        for key, value in _records(content, what):
            if key.startswith("GNU.sparse"):
                raise Refused(f"{what}: a sparse file")
            if kind == "g" and key in {"path", "linkpath", "size"}:
                raise Refused(f"{what}: a name or a size for all files")
            if key == "path":
                extended.name = value
            elif key == "linkpath":
                extended.link = value
            elif key == "size":
                if not value.isascii() or not value.isdigit() or len(value) > len(str(1 << 60)):
                    raise ProtocolError(f"{what}: a header without a usable size")
                extended.size = int(value)


def _records(content: bytes, what: str) -> list[tuple[str, str]]:
    """Return the records `LENGTH KEY=VALUE` of a pax header."""
    found: list[tuple[str, str]] = []
    while content.strip(b"\0"):
        digits, blank, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < _LENGTH_DIGITS else 0
        record, content = content[len(digits) + 1 : length], content[length:]
        key, equals, value = record.partition(b"=")
        if not blank or not equals or not value.endswith(b"\n"):
            raise ProtocolError(f"{what}: a broken extended header")
        found.append((key.decode(errors="replace"), value[:-1].decode(errors="replace")))
    return found


def _header_name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:262] == b"ustar" and header[257:265] != b"ustar  \0" else ""
    name = _text(header[:100])
    return f"{prefix}/{name}" if prefix else name


def _checked_name(name: str, what: str) -> str:
    """Return *name* without a leading `./`; `Refused` if it leads out of the archive."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or len(name) > _NAME_LIMIT or "\0" in name:
        raise Refused(f"{what}: a file with the name {name[:100]!r}")
    return "/".join(parts)


def _number(field: bytes, what: str) -> int:
    if field[0] & 0x80:  # GNU's form for sizes of 8 GiB and more.
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if value >> 60:
            raise ProtocolError(f"{what}: a header without a usable size")
        return value
    digits = field.strip(b" \0")
    if any(not ord("0") <= digit <= ord("7") for digit in digits):
        raise ProtocolError(f"{what}: a header without a usable size")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _refuse_compressed(beginning: bytes, what: str) -> None:
    for magic, command in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise Refused(f"{what}: a compressed archive", remedy=f"decompress it first: {command} FILE")
