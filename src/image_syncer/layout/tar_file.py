"""A tar archive to read members from, and one to write. Blocking."""

import contextlib
import os
import stat
import tarfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

from image_syncer.errors import NotFound, Refused
from image_syncer.layout.disk_errors import disk_errors
from image_syncer.layout.safe_files import BlobFile, write_all
from image_syncer.layout.tar_members import Member, Members, read_members

_COPY_BYTES: Final = 1024 * 1024
_BLOCK: Final = 512
_LINKS_LIMIT: Final = 16

Version = tuple[int, int, int]


class TarReader:
    """The archive at *path*, which may be replaced at any time: then it is opened again. Safe to use from threads."""

    def __init__(self, path: str, what: str, *, links: bool = False) -> None:
        self._path = path
        self._what = what
        self._links = links
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._version: Version | None = None
        self._members = Members({})

    def version(self) -> Version | None:
        """Return a value that changes with the file; None without one."""
        with disk_errors(self._what):
            try:
                return _version(Path(self._path).stat())
            except FileNotFoundError:
                return None

    def names(self) -> frozenset[str]:
        """Return the names of all files; `NotFound` without the archive."""
        with self._lock:
            self._open()
            return frozenset(self._members.files)

    def is_cut(self) -> bool:
        """Whether the archive ends without its end, so that files may be missing; `NotFound` without the archive."""
        with self._lock:
            self._open()
            return self._members.is_cut

    def open(self, name: str) -> BlobFile:
        """Open the file *name*, following links within the archive; `NotFound`."""
        with self._lock, disk_errors(f"{self._what}: {name}"):
            handle = self._open()
            member = self._follow(name)
            return BlobFile(os.dup(handle), member.size, member.offset)

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of the file *name*; `NotFound`, or `TooLarge` above *limit* bytes."""
        what = f"{self._what}: {name}"
        with contextlib.closing(self.open(name)) as file, disk_errors(what):
            return file.read_all(limit, what)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _follow(self, name: str) -> Member:
        for _ in range(_LINKS_LIMIT):
            member = self._members.files.get(name)
            if member is None:
                break
            if not member.link:
                return member
            parts = name.split("/")[:-1]
            for part in member.link.split("/"):
                if part == "..":
                    parts = parts[:-1]
                elif part not in {"", "."}:
                    parts.append(part)
            name = "/".join(parts)
        cut = ", which is cut off: it has no end" if self._members.is_cut else ""
        raise NotFound(f"{self._what}: {name[:200]}: not in the archive{cut}")

    def _open(self) -> int:
        version = self.version()
        if self._handle is not None and version == self._version:
            return self._handle
        self._close()
        if version is None:
            raise NotFound(f"{self._what}: no such file")
        with disk_errors(self._what):
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                found = os.fstat(handle)
                self._members = self._read(handle, found)
            except BaseException:
                os.close(handle)
                raise
        self._handle, self._version = handle, _version(found)
        return handle

    def _read(self, handle: int, found: os.stat_result) -> Members:
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{self._what}: not a regular file")
        return read_members(handle, self._what, links=self._links)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle, self._version, self._members = None, None, Members({})


def _version(found: os.stat_result) -> Version:
    return found.st_ino, found.st_mtime_ns, found.st_size


class TarWriter:
    """Writes members to the file *handle*, with the same bytes for the same content."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def add_directory(self, name: str) -> None:
        """Add the directory *name*."""
        info = tarfile.TarInfo(f"{name}/")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        write_all(self._handle, info.tobuf(tarfile.PAX_FORMAT))

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a file with *content*."""
        self._add_header(name, len(content))
        write_all(self._handle, content)
        self._pad(len(content))

    def add_file(self, name: str, file: BlobFile) -> Generator[int]:
        """Add a file with the content of *file*; yields the number of bytes after each piece."""
        self._add_header(name, file.size)
        at = 0
        while piece := file.read(at, _COPY_BYTES):
            write_all(self._handle, piece)
            at += len(piece)
            yield at
        if at != file.size:
            raise Refused(f"{name}: became shorter while it was read")
        self._pad(file.size)

    def finish(self) -> None:
        """Write the end of the archive, and everything to the disk."""
        write_all(self._handle, bytes(2 * _BLOCK))
        os.fsync(self._handle)

    def _add_header(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        write_all(self._handle, info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        write_all(self._handle, bytes(-size % _BLOCK))
