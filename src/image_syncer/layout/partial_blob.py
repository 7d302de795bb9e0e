"""A blob on its way to a directory: written beside the others, and moved to its place when it is whole.

What was written stays when the write is interrupted, so the next one continues there, in another process too.
"""

import fcntl
import hashlib
import os
from contextlib import suppress
from typing import Final, Self

from image_syncer.errors import ContentMismatch
from image_syncer.layout.safe_files import directory, open_for_writing, write_all
from image_syncer.oci import Digest

PARTIAL: Final = ".partial"

_READ_BYTES: Final = 1024 * 1024
_KEPT_BYTES: Final = 1024 * 1024
"""Less than this is not worth a file that may stay behind."""


class PartialBlob:
    """An unfinished blob of *root*. Blocking; end it with `commit` or `abandon`. *offset* is what it has already."""

    def __init__(self, root: str, digest: Digest, size: int | None, what: str) -> None:
        self._root = root
        self._digest = digest
        self._size = size
        self._what = what
        self._hash = hashlib.new(digest.algorithm, usedforsecurity=False)
        self.offset = 0
        with directory(root, (PARTIAL,), create=True) as parent:
            self._name, self._handle = _open(f"{digest.algorithm}-{digest.encoded}", parent)

    @classmethod
    def begin(cls, root: str, digest: Digest, size: int | None, what: str) -> Self:
        """Return the unfinished blob *digest* of *size* bytes, with what an earlier write has left."""
        partial = cls(root, digest, size, what)
        try:
            partial._read_old()
        except BaseException:
            os.close(partial._handle)
            raise
        return partial

    def _read_old(self) -> None:
        old = os.fstat(self._handle).st_size
        if self._size is None or old > self._size:
            os.ftruncate(self._handle, 0)
            return
        while self.offset < old and (part := os.pread(self._handle, _READ_BYTES, self.offset)):
            self._hash.update(part)
            self.offset += len(part)
        os.lseek(self._handle, self.offset, os.SEEK_SET)

    def write(self, content: bytes | bytearray) -> None:
        """Add *content*; `ContentMismatch` if that is more than the size."""
        if self._size is not None and self.offset + len(content) > self._size:
            raise ContentMismatch(f"{self._what}: more than the promised {self._size} bytes")
        self._hash.update(content)
        write_all(self._handle, content)
        self.offset += len(content)

    def commit(self) -> None:
        """Move the blob to its place; `ContentMismatch` if it is not whole or wrong, and then nothing stays."""
        found = Digest(self._digest.algorithm, self._hash.hexdigest())
        if self._size not in {None, self.offset} or found != self._digest:
            raise ContentMismatch(f"{self._what}: {self.offset} bytes with digest {found}, not the promised content")
        os.fsync(self._handle)
        with (
            directory(self._root, (PARTIAL,)) as parent,
            directory(self._root, ("blobs", self._digest.algorithm), create=True) as target,
        ):
            os.rename(self._name, self._digest.encoded, src_dir_fd=parent, dst_dir_fd=target)
            os.fsync(target)
        os.close(self._handle)

    def abandon(self, *, keep: bool) -> None:
        """End the write; *keep*: what was written is right as far as it goes, so the next write continues there."""
        try:
            if not keep or self._size is None or self.offset < _KEPT_BYTES:
                with directory(self._root, (PARTIAL,)) as parent, suppress(FileNotFoundError):
                    os.unlink(self._name, dir_fd=parent)
        finally:
            os.close(self._handle)


def _open(name: str, parent: int) -> tuple[str, int]:
    """Return the name and handle of the file to write: *name*, or a fresh one while another process writes *name*."""
    handle = open_for_writing(name, parent)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have finished between the two calls: then the name is free, or another file's.
        if os.fstat(handle).st_ino == os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino:
            return name, handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    fresh = f"{name}.{os.getpid()}-{os.urandom(4).hex()}"
    return fresh, open_for_writing(fresh, parent, os.O_EXCL)
