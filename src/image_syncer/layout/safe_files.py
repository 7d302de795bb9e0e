"""Files below a directory, opened without following any link below it."""

import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from image_syncer.errors import Refused, TooLarge

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW: Final = _DIRECTORY | os.O_NOFOLLOW
_FILE: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class BlobFile:
    """A piece of an open file: *size* bytes from *offset* on. Blocking; close it."""

    def __init__(self, handle: int, size: int, offset: int = 0) -> None:
        self._handle = handle
        self._offset = offset
        self.size = size

    def read(self, at: int, count: int) -> bytes:
        """Return up to *count* bytes from byte *at* on; empty at the end."""
        return os.pread(self._handle, max(0, min(count, self.size - at)), self._offset + at)

    def read_all(self, limit: int, what: str) -> bytes:
        """Return the content; `TooLarge` above *limit* bytes."""
        if self.size > limit:
            raise TooLarge(f"{what}: {self.size} bytes, more than {limit // 1024**2} MiB")
        content = bytearray()
        while part := self.read(len(content), self.size):
            content += part
        return bytes(content)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@contextmanager
def directory(root: str, parts: Sequence[str] = (), *, create: bool = False) -> Generator[int]:
    """Open the directory *parts* below *root*, and give its handle. *create* makes those below *root*.

    *root* itself may be a link, since the user names it.
    """
    handle = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            inner = os.open(part, _BELOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def open_file(name: str, parent: int, what: str) -> BlobFile:
    """Open the file *name* in the directory *parent*; `Refused` if it is a link or no regular file."""
    handle = os.open(name, os.O_RDONLY | _FILE, dir_fd=parent)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise Refused(f"{what}: not a regular file")
    return BlobFile(handle, found.st_size)


def open_for_writing(name: str, parent: int, flags: int = 0) -> int:
    """Open the file *name* in the directory *parent* for reading and writing; creates it.

    `Refused` if it is no regular file, or has another name too: then it may be any file of the user.
    """
    handle = os.open(name, os.O_RDWR | os.O_CREAT | _FILE | flags, 0o666, dir_fd=parent)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise Refused(f"{name}: not a regular file, or one with several names", remedy="delete it")
    return handle


def write_all(handle: int, content: bytes | bytearray | memoryview) -> None:
    """Write the whole *content*."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]
