"""Where the files of a layout are: in a directory or in an archive. Blocking."""

from contextlib import AbstractContextManager
from typing import Protocol

from image_syncer.layout.partial_blob import PartialBlob
from image_syncer.layout.safe_files import BlobFile
from image_syncer.oci import Digest


class Storage(Protocol):
    """The files of one layout. Methods raise `StoreError`."""

    @property
    def what(self) -> str:
        """The location of the layout, for errors."""
        ...

    def index_version(self) -> object:
        """Return a value that changes with the index; None without an index."""
        ...

    def read_index(self) -> bytes:
        """Return the bytes of the index; `NotFound` without a layout."""
        ...

    def open(self, digest: Digest) -> BlobFile:
        """Open the blob *digest*; `NotFound`."""
        ...

    def prepare(self) -> None:
        """Prepare to write: create what is missing."""
        ...

    def begin(self, digest: Digest, size: int | None) -> PartialBlob:
        """Begin or continue to write the blob *digest*."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from changing the index within the context."""
        ...

    def write_index(self, content: bytes) -> None:
        """Replace the index."""
        ...

    def finish(self) -> None:
        """Complete what was written; the end of a run calls it."""
        ...

    def interrupt(self) -> None:
        """End a `finish` that runs in another thread with `Interrupted`, soon."""
        ...

    def close(self) -> None:
        """Close all files, and remove what is needed no longer."""
        ...
