"""Tar archives from strangers: members are found where they lie, and every trick is refused."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import NotFound, ProtocolError, Refused, StoreError, TooLarge
from image_syncer.layout import tar_members
from image_syncer.layout.tar_file import TarReader, TarWriter
from image_syncer.layout.tar_members import read_members

LONG = "a/" * 120 + "name"


def packed(*infos: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive with *infos*: files of a name and a content, or headers alone."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=form) as archive:
        for info in infos:
            if isinstance(info, tarfile.TarInfo):
                archive.addfile(info)
            else:
                header = tarfile.TarInfo(info[0])
                header.size = len(info[1])
                archive.addfile(header, io.BytesIO(info[1]))
    return memory.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """Return the header of a member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def extended(records: Mapping[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a pax header with *records*."""
    content = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record) + 2
        length += len(str(length)) - 2
        content += str(length).encode() + record
    info = tarfile.TarInfo("extended")
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


def damaged(archive: bytes, at: int, byte: int) -> bytes:
    """Return *archive* with one other byte."""
    return archive[:at] + bytes([byte]) + archive[at + 1 :]


def with_size(size: bytes) -> bytes:
    """Return an archive whose only header has the field *size*, with a right checksum."""
    header = bytearray(packed(("a", b""))[:512])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


@pytest.fixture
def members_of(tmp_path: Path) -> Callable[[bytes], Mapping[str, bytes]]:
    """Return a function that reads all files of an archive."""

    def read(archive: bytes) -> Mapping[str, bytes]:
        path = tmp_path / "a.tar"
        path.write_bytes(archive)
        with path.open("rb") as file:
            found = read_members(file.fileno(), "a.tar").files
        return {name: archive[one.offset : one.offset + one.size] for name, one in found.items()}

    return read


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_found_in_every_form(members_of: Callable[[bytes], Mapping[str, bytes]], form: int) -> None:
    """With long names and all sizes around a block; directories are skipped."""
    files = [(f"size/{size}", b"x" * size) for size in (0, 1, 511, 512, 513, 5000)]
    long = [] if form == tarfile.USTAR_FORMAT else [(LONG, b"long")]
    split = [("d" * 90 + "/" + "f" * 90, b"split")]
    archive = packed(special("size/", tarfile.DIRTYPE), *files, *long, *split, ("./blobs/x", b"dot"), form=form)
    assert members_of(archive) == {**dict(files), **dict(long), **dict(split), "blobs/x": b"dot"}


def test_the_last_file_of_a_name_counts(members_of: Callable[[bytes], Mapping[str, bytes]]) -> None:
    """As `tar -r` adds a newer one."""
    assert members_of(packed(("a", b"old"), ("a", b"new"))) == {"a": b"new"}


def test_an_empty_archive_has_no_files(members_of: Callable[[bytes], Mapping[str, bytes]]) -> None:
    """Also one without its end."""
    assert members_of(packed()) == {}
    assert members_of(b"") == {}


BIG_HEADER = tarfile.TarInfo("x")
BIG_HEADER.type, BIG_HEADER.size = tarfile.XHDTYPE, 1 << 40


@pytest.mark.parametrize(
    ("archive", "error", "message"),
    [
        pytest.param(packed(("/etc/passwd", b"x")), Refused, "/etc/passwd", id="absolute"),
        pytest.param(packed(("blobs/../../x", b"x")), Refused, r"\.\.", id="a way out"),
        pytest.param(packed(("..", b"x")), Refused, r"\.\.", id="the parent"),
        pytest.param(packed(special("a", tarfile.SYMTYPE, "/etc/passwd")), Refused, "a link", id="symbolic link"),
        pytest.param(packed(special("a", tarfile.LNKTYPE, "b")), Refused, "a link", id="hard link"),
        pytest.param(packed(special("a", tarfile.CHRTYPE)), Refused, "no regular file", id="device"),
        pytest.param(packed(special("a", tarfile.FIFOTYPE)), Refused, "no regular file", id="pipe"),
        pytest.param(
            packed(special("a", tarfile.GNUTYPE_SPARSE)), Refused, "no regular file", id="sparse in GNU's form"
        ),
        pytest.param(
            extended({"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999999"}) + packed(("a", b"x")),
            Refused,
            "sparse",
            id="sparse in pax",
        ),
        pytest.param(extended({"path": "../../x"}) + packed(("a", b"x")), Refused, r"\.\.", id="a way out in pax"),
        pytest.param(
            extended({"path": "a"}, tarfile.XGLTYPE) + packed(("b", b"x")),
            Refused,
            "for all files",
            id="one name for all",
        ),
        pytest.param(
            extended({"size": "9" * 400}) + packed(("a", b"x")), ProtocolError, "usable size", id="a size of 400 digits"
        ),
        pytest.param(
            extended({"size": "-1"}) + packed(("a", b"x")), ProtocolError, "usable size", id="a negative size"
        ),
        pytest.param(
            extended({"size": str(1 << 50)}) + packed(("a", b"x")), ProtocolError, "cut off", id="a size of a petabyte"
        ),
        pytest.param(with_size(b"\xff" * 12), ProtocolError, "usable size", id="a negative size in base 256"),
        pytest.param(with_size(b"\x80" + b"\0" * 5 + b"\x7f" * 6), ProtocolError, "cut off", id="a size in base 256"),
        pytest.param(with_size(b"99999999999\0"), ProtocolError, "usable size", id="a size that is not octal"),
        pytest.param(
            BIG_HEADER.tobuf(tarfile.GNU_FORMAT) + bytes(1024), TooLarge, "extended header", id="a header of a terabyte"
        ),
        pytest.param(
            extended({"path": "x"})[:512] + b"9999999 path=x\n".ljust(512, b"\0"), ProtocolError, "broken", id="long"
        ),
        pytest.param(
            extended({"path": "x"})[:512] + b"x path=x\n".ljust(512, b"\0"), ProtocolError, "broken", id="no length"
        ),
        pytest.param(packed(("a", b"x" * 2000))[:1500], ProtocolError, "cut off", id="cut off in a file"),
        pytest.param(packed(("a", b"x"))[:300], ProtocolError, "cut off", id="cut off in a header"),
        pytest.param(damaged(packed(("a", b"x")), 0, 0x62), ProtocolError, "not a tar", id="a wrong checksum"),
        pytest.param(b"not an archive at all" * 100, ProtocolError, "not a tar", id="text"),
        pytest.param(b"\x1f\x8b" + bytes(600), Refused, "gzip -d", id="gzip"),
        pytest.param(b"\x28\xb5\x2f\xfd" + bytes(600), Refused, "zstd -d", id="zstd"),
        pytest.param(b"BZh9" + bytes(600), Refused, "bzip2 -d", id="bzip2"),
        pytest.param(b"\xfd7zXZ\0" + bytes(600), Refused, "xz -d", id="xz"),
    ],
)
def test_tricks_are_refused(
    members_of: Callable[[bytes], Mapping[str, bytes]], archive: bytes, error: type[StoreError], message: str
) -> None:
    """Before anything of the archive is used."""
    with pytest.raises(error, match=message):
        members_of(archive)


def test_the_number_of_files_is_bounded(
    members_of: Callable[[bytes], Mapping[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes memory."""
    monkeypatch.setattr(tar_members, "MEMBERS_LIMIT", 3)
    with pytest.raises(TooLarge, match="more than 3 files"):
        members_of(packed(*((f"{number}", b"") for number in range(4))))


@given(st.binary(max_size=2000))
def test_any_bytes_give_files_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Only `StoreError` is raised."""
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(packed(("a", b"x"))[:512] + content)
    with path.open("rb") as file:
        try:
            read_members(file.fileno(), "a.tar")
        except StoreError:
            return


def test_links_are_followed_within_the_archive(tmp_path: Path) -> None:
    """Where they are allowed; circles, and links to what is not there, are not found."""
    path = tmp_path / "a.tar"
    path.write_bytes(
        packed(
            ("one/layer.tar", b"layer"),
            special("two/layer.tar", tarfile.SYMTYPE, "../one/layer.tar"),
            special("three/layer.tar", tarfile.SYMTYPE, "../two/./layer.tar"),
            special("circle", tarfile.SYMTYPE, "circle"),
            special("out", tarfile.SYMTYPE, "../../../../etc/passwd"),
        )
    )
    reader = TarReader(str(path), "a.tar", links=True)
    try:
        assert reader.read("three/layer.tar", 100) == b"layer"
        for name in ("circle", "out", "missing"):
            with pytest.raises(NotFound):
                reader.open(name)
    finally:
        reader.close()


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """By this tool and by the standard library; the same content gives the same bytes."""
    path = tmp_path / "a.tar"
    files = {"oci-layout": b"{}", "blobs/sha256/" + "0" * 64: b"x" * 1000, "empty": b""}
    written: set[bytes] = set()
    for _ in range(2):
        with path.open("wb", buffering=0) as file:
            writer = TarWriter(file.fileno())
            writer.add_directory("blobs")
            for name, content in files.items():
                writer.add_bytes(name, content)
            writer.finish()
        written.add(path.read_bytes())
    assert len(written) == 1
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["blobs", *files]
        assert all(member.mtime == 0 for member in archive)
    reader = TarReader(str(path), "a.tar")
    assert {name: reader.read(name, 2000) for name in reader.names()} == files
    reader.close()
