"""A layout in a tar archive. Blocking.

What is written is gathered in the directory `FILE.partial` beside the archive, where a later process finds it again.
The end of the run writes a new archive with the old content and the new, and puts it in place of the old in one step.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Final

from image_syncer.errors import Interrupted, NotFound, ProtocolError, TooLarge, Unavailable
from image_syncer.layout.blob_directory import INDEX_FILE, LAYOUT_CONTENT, LAYOUT_FILE, BlobDirectory, check_layout_file
from image_syncer.layout.disk_errors import disk_errors
from image_syncer.layout.index_file import INDEX_LIMIT_BYTES, LayoutIndex
from image_syncer.layout.partial_blob import PARTIAL, PartialBlob
from image_syncer.layout.safe_files import BlobFile, directory, open_for_writing
from image_syncer.layout.tar_file import TarReader, TarWriter
from image_syncer.oci import Descriptor, Digest, Index, RawManifest
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES

_LAYOUT_LIMIT_BYTES: Final = 4096


class ArchiveStorage:
    """The layout in the archive at *path*; *what* names it in errors."""

    def __init__(self, path: str, what: str) -> None:
        self.what = what
        self._path = path
        self._archive = TarReader(path, what)
        self._gathered = BlobDirectory(f"{path}{PARTIAL}", what)
        self._resources = ExitStack()
        self._is_prepared = False
        self._lock = threading.Lock()
        self._index: bytes | None = None
        """The index with all edits of this process; None without any."""
        self._edits = self._written = 0
        self._interrupted = threading.Event()

    def index_version(self) -> object:
        """Return a value that changes with the index; None without an archive."""
        if self._index is not None:
            return self._edits
        return self._archive.version()

    def read_index(self) -> bytes:
        """Return the bytes of the index; `NotFound` without the archive, `ProtocolError` if it holds no layout."""
        if self._index is not None:
            return self._index
        missing = {LAYOUT_FILE, INDEX_FILE} - self._archive.names()
        if missing:
            self._refuse_cut()
            raise ProtocolError(
                f"{self.what}: no layout: {', '.join(sorted(missing))} is missing",
                remedy="a file of docker save is read by docker-archive:FILE",
            )
        check_layout_file(self._archive.read(LAYOUT_FILE, _LAYOUT_LIMIT_BYTES), f"{self.what}: {LAYOUT_FILE}")
        return self._archive.read(INDEX_FILE, INDEX_LIMIT_BYTES)

    def open(self, digest: Digest) -> BlobFile:
        """Open the blob *digest*; `NotFound`."""
        if self._is_prepared:
            with suppress(NotFound):
                return self._gathered.open(digest)
        return self._archive.open(blob_name(digest))

    def prepare(self) -> None:
        """Make the directory for what is written; `Unavailable` while another process writes the archive."""
        with suppress(NotFound):
            self.read_index()
            self._refuse_cut()  # The new archive would have the old gaps.
        self._gathered.prepare()
        with disk_errors(self.what), ExitStack() as stack:
            handle = stack.enter_context(directory(self._gathered.root))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(f"{self.what}: another process writes the archive") from None
            self._resources.enter_context(stack.pop_all())
        self._is_prepared = True

    def begin(self, digest: Digest, size: int | None) -> PartialBlob:
        """Begin or continue to write the blob *digest*."""
        return self._gathered.begin(digest, size)

    def locked(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: this process is the only writer."""
        return nullcontext()

    def write_index(self, content: bytes) -> None:
        """Keep the index for the new archive."""
        self._index = content
        self._edits += 1

    def finish(self) -> None:
        """Write the archive, if there is anything new; put it in place of the old one when it is complete.

        After an `interrupt` what was gathered stays for the next run.
        """
        with self._lock:
            if self._index is None or self._edits == self._written:
                return
            edits, content = self._edits, self._index
            index = LayoutIndex.parse(content, self.what)
            with disk_errors(self.what), directory(self._gathered.root, (PARTIAL,), create=True) as parent:
                name = Path(self._path).name
                handle = open_for_writing(name, parent, os.O_TRUNC)
                try:
                    written = self._write(TarWriter(handle), content, index)
                finally:
                    os.close(handle)
                with directory(str(Path(self._path).parent)) as target:
                    os.rename(name, name, src_dir_fd=parent, dst_dir_fd=target)
                    os.fsync(target)
            self._written = edits
            self._remove(written)

    def interrupt(self) -> None:
        """End `finish` with `Interrupted`."""
        self._interrupted.set()

    def close(self) -> None:
        """Close all files; remove the directory unless it has blobs that the archive does not have."""
        if self._is_prepared:
            self._remove_directory()
        self._resources.close()
        self._archive.close()

    def _refuse_cut(self) -> None:
        if self._archive.is_cut():
            raise ProtocolError(
                f"{self.what}: cut off: the archive has no end", remedy="copy it here again, or remove it"
            )

    def _write(self, tar: TarWriter, content: bytes, index: LayoutIndex) -> list[Digest]:
        """Write a layout with the index *content* and all blobs that it needs; return their digests."""
        tar.add_bytes(LAYOUT_FILE, LAYOUT_CONTENT)
        tar.add_bytes(INDEX_FILE, content)
        written = sorted(self._reachable(index))
        for name in ("blobs", *sorted({f"blobs/{digest.algorithm}" for digest in written})):
            tar.add_directory(name)
        for digest in written:
            with contextlib.closing(self.open(digest)) as file:
                for _ in tar.add_file(blob_name(digest), file):
                    if self._interrupted.is_set():
                        raise Interrupted(f"{self.what}: stopped before the archive was written")
        tar.finish()
        return written

    def _reachable(self, index: LayoutIndex) -> set[Digest]:
        """Return the digests of all content that *index* names, directly or not, as far as it is here."""
        found: set[Digest] = set()
        pending = list(index.entries)
        while pending:
            entry = pending.pop()
            if entry.digest in found:
                continue
            try:
                with contextlib.closing(self.open(entry.digest)) as file:
                    found.add(entry.digest)
                    pending.extend(_parts(entry, file))
            except NotFound:
                continue  # A layer that lies elsewhere, or a gap in the old archive.
        return found

    def _remove(self, written: list[Digest]) -> None:
        """Remove gathered blobs that the archive has now."""
        for digest in written:
            with suppress(OSError), directory(self._gathered.root, ("blobs", digest.algorithm)) as parent:
                os.unlink(digest.encoded, dir_fd=parent)

    def _remove_directory(self) -> None:
        root = Path(self._gathered.root)
        with suppress(OSError):  # A directory that is not empty stays, with the files that make it a layout.
            for inner in (*root.glob("blobs/*"), root / "blobs", root / PARTIAL):
                inner.rmdir()
            for name in (INDEX_FILE, LAYOUT_FILE):
                (root / name).unlink()
            root.rmdir()


def blob_name(digest: Digest) -> str:
    """Return the name of the blob *digest* in a layout."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _parts(entry: Descriptor, file: BlobFile) -> Generator[Descriptor]:
    """Yield what the manifest in *file* names; nothing if it is a blob."""
    if file.size > MANIFEST_LIMIT_BYTES or not (entry.is_manifest or entry.media_type.endswith("json")):
        return
    try:
        raw = RawManifest.of(file.read_all(MANIFEST_LIMIT_BYTES, str(entry.digest)), entry.media_type)
        parsed = raw.parse()
    except (ProtocolError, TooLarge):
        return
    if isinstance(parsed, Index):
        yield from parsed.manifests
    else:
        yield from (*parsed.blobs, *parsed.external_layers)
