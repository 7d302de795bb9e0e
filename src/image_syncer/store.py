"""The roles that a registry, a layout on disk or a store in memory can play for a copy.

Every implementation passes the contract suite in `tests/contract`. All methods raise `errors.StoreError`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from image_syncer.oci import Descriptor, RawManifest, Repository, Verifier

Chunk = bytes | bytearray | memoryview
"""A piece of content; valid only until the next one is asked for, since buffers are reused."""

Opener = Callable[[], AbstractAsyncContextManager[AsyncIterator[Chunk]]]
"""Content that can be read again from byte 0 each time it is opened, whenever a push must be repeated."""


class Source(Protocol):
    """Where images are read: one repository."""

    async def resolve(self, identifier: str) -> Descriptor:
        """Return what the tag or digest *identifier* names now, cheaply (a HEAD); `NotFound` if it names nothing."""
        ...

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified against the digest if that is one; `NotFound`."""
        ...

    def open(self, blob: Descriptor) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte 0.

        Size and digest are checked while bytes flow: the last chunk is handed out only when all are right, otherwise
        `ContentMismatch`. A *size* of None is tolerated (Docker schema 1).
        """
        ...

    def tags(self) -> AsyncIterator[str]:
        """Yield every tag in the store's order, one page at a time; `NotFound` where the repository is not there."""
        ...


class Target(Protocol):
    """Where images are written: one repository. Every push may be repeated without harm."""

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return what *identifier* names now, None if it (or the repository) is not there yet."""
        ...

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds *blob*."""
        ...

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*, reading *content* once per attempt; wrong bytes are never committed (`ContentMismatch`)."""
        ...

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Take *blob* over from the repository *origin* of the same registry; False means "then push"."""
        ...

    async def push_manifest(self, manifest: RawManifest, identifier: str) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` where it names what is not there."""
        ...


class Stores(Protocol):
    """Hands out the repositories of every registry; equal arguments give the same object for the whole run."""

    def source(self, repository: Repository) -> Source:
        """Return *repository* to read from."""
        ...

    def target(self, repository: Repository) -> Target:
        """Return *repository* to write to."""
        ...


async def verified(chunks: AsyncGenerator[Chunk], blob: Descriptor, what: str) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on as the content of *blob*, holding the last one back until size and digest are right.

    Raises `ContentMismatch`, whose text begins with *what*. Closes *chunks* in every case.
    """
    verifier = Verifier(blob.digest, blob.size, what)
    async with aclosing(chunks):
        async for chunk in chunks:
            verifier.update(chunk)
            yield chunk
        verifier.finish()
