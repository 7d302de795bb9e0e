"""The files of a layout in a directory: `blobs/ALGORITHM/HEX`, `index.json` and `oci-layout`. Blocking."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from image_syncer.bounded_json import parse_object
from image_syncer.errors import NotFound, ProtocolError, Refused, Unavailable
from image_syncer.layout.disk_errors import disk_errors
from image_syncer.layout.index_file import INDEX_LIMIT_BYTES, LayoutIndex
from image_syncer.layout.partial_blob import PARTIAL, PartialBlob
from image_syncer.layout.safe_files import BlobFile, directory, open_file, open_for_writing, write_all
from image_syncer.oci import Digest

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
LAYOUT_CONTENT: Final = b'{"imageLayoutVersion":"1.0.0"}'

_LAYOUT_LIMIT_BYTES: Final = 4096
_LOCK_SECONDS: Final = 60.0
_LOCK_POLL_SECONDS: Final = 0.01
_STALE_SECONDS: Final = 7 * 86_400.0

Version = tuple[int, int, int]
"""Changes with the content of a file: its inode, its time in nanoseconds, its size."""


class BlobDirectory:
    """A layout in the directory *root*; *what* names it in errors."""

    def __init__(self, root: str, what: str) -> None:
        self.root = root
        self.what = what
        self._is_checked = False

    def index_version(self) -> Version | None:
        """Return the version of `index.json`, None without one."""
        with disk_errors(self.what), directory(self.root) as root:
            try:
                found = os.stat(INDEX_FILE, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                return None
            return found.st_ino, found.st_mtime_ns, found.st_size

    def read_index(self) -> bytes:
        """Return the bytes of `index.json`; `NotFound`, or `ProtocolError` if the directory is no layout."""
        self._check_layout()
        with disk_errors(f"{self.what}: {INDEX_FILE}"):
            return self._read(INDEX_FILE, INDEX_LIMIT_BYTES)

    def open(self, digest: Digest) -> BlobFile:
        """Open the blob *digest*; `NotFound`, or `Refused` if it is a link."""
        what = f"{self.what}: {digest}"
        with disk_errors(what), directory(self.root, ("blobs", digest.algorithm)) as parent:
            return open_file(digest.encoded, parent, what)

    def begin(self, digest: Digest, size: int | None) -> PartialBlob:
        """Begin or continue to write the blob *digest*."""
        what = f"{self.what}: {digest}"
        with disk_errors(what):
            return PartialBlob.begin(self.root, digest, size, what)

    def prepare(self) -> None:
        """Make the directory a layout if it is missing or empty; `Refused` if it has other files."""
        with disk_errors(self.what):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            names = set(_names(self.root)) - {PARTIAL}
            last_write = self._last_write() if INDEX_FILE in names else None
            if LAYOUT_FILE not in names:
                if names:
                    raise Refused(
                        f"{self.what}: not empty, and no layout: {LAYOUT_FILE} is missing",
                        remedy="name another directory",
                    )
                self._write(LAYOUT_FILE, LAYOUT_CONTENT)
            if INDEX_FILE not in names:
                self._write(INDEX_FILE, LayoutIndex.empty(self.what).content())
            with directory(self.root, ("blobs",), create=True), directory(self.root, (PARTIAL,), create=True):
                pass
            if last_write is not None:
                self._remove_stale(min(last_write, time.time()))
        self._check_layout()

    def write_index(self, content: bytes) -> None:
        """Replace `index.json` in one step."""
        with disk_errors(f"{self.what}: {INDEX_FILE}"):
            self._write(INDEX_FILE, content)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes from changing the index within the context; `Unavailable` after a minute."""
        until = time.monotonic() + _LOCK_SECONDS
        with contextlib.ExitStack() as stack:
            with disk_errors(self.what):
                root = stack.enter_context(directory(self.root))
            while True:
                try:
                    fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Unavailable(f"{self.what}: another process keeps the layout locked") from None
                    time.sleep(_LOCK_POLL_SECONDS)
            yield

    def finish(self) -> None:
        """Do nothing: each write is complete by itself."""

    def interrupt(self) -> None:
        """Do nothing: there is no long end."""

    def close(self) -> None:
        """Remove the directory of unfinished blobs if it is empty."""
        with suppress(OSError), directory(self.root) as root:
            os.rmdir(PARTIAL, dir_fd=root)

    def _check_layout(self) -> None:
        if self._is_checked:
            return
        what = f"{self.what}: {LAYOUT_FILE}"
        with disk_errors(what):
            try:
                content = self._read(LAYOUT_FILE, _LAYOUT_LIMIT_BYTES)
            except FileNotFoundError:
                if Path(self.root).is_dir():
                    raise NotFound(f"{self.what}: not a layout: {LAYOUT_FILE} is missing") from None
                raise NotFound(f"{self.what}: no such directory") from None
        check_layout_file(content, what)
        self._is_checked = True

    def _read(self, name: str, limit: int) -> bytes:
        with directory(self.root) as root:
            file = open_file(name, root, f"{self.what}: {name}")
            with contextlib.closing(file):
                return file.read_all(limit, f"{self.what}: {name}")

    def _write(self, name: str, content: bytes) -> None:
        with directory(self.root) as root, directory(self.root, (PARTIAL,), create=True) as parent:
            temporary = f"{name}.{os.getpid()}-{os.urandom(4).hex()}"
            handle = open_for_writing(temporary, parent, os.O_EXCL)
            try:
                write_all(handle, content)
                os.fsync(handle)
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=root)
                os.fsync(root)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent)
                raise
            finally:
                os.close(handle)

    def _last_write(self) -> float:
        """Return when an earlier run wrote last, by the times of the files."""
        times = [0.0]
        for path in ((), ("blobs",), ("blobs", "sha256"), (PARTIAL,)):
            with suppress(FileNotFoundError, NotFound), directory(self.root, path) as parent:
                times.append(os.fstat(parent).st_mtime)
        return max(times)

    def _remove_stale(self, last_write: float) -> None:
        """Remove what interrupted writes left a week before *last_write*.

        The present time alone decides nothing: the clock may be ahead, and what it would remove is what a write
        continues. Two runs have to agree that a week has passed.
        """
        with directory(self.root, (PARTIAL,)) as parent:
            for name in _names(parent):
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if last_write - found.st_mtime > _STALE_SECONDS:
                        os.unlink(name, dir_fd=parent)


def _names(parent: str | int) -> list[str]:
    with os.scandir(parent) as found:
        return [entry.name for entry in found]


def check_layout_file(content: bytes, what: str) -> None:
    """Raise `ProtocolError` unless *content* is an `oci-layout` file of version 1."""
    version: object = parse_object(content, what).get("imageLayoutVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise ProtocolError(f"{what}: its version is {version!r:.100}; this tool reads 1.0.0")
