"""The roles of repositories: a source and a target of images, and the access to them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from image_syncer.errors import Side
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository

Chunk = bytes | bytearray | memoryview
"""A piece of content; valid only until the next one is read, since buffers are reused."""


class Opener(Protocol):
    """Content that can be opened again, when a push is retried or resumed."""

    def __call__(self, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open the content for one read from byte *start*."""
        ...


class Source(Protocol):
    """A repository that images are read from."""

    async def resolve(self, identifier: str) -> Descriptor:
        """Return the descriptor that the tag or digest *identifier* names now, by a HEAD; `NotFound`."""
        ...

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified if that is a digest; `NotFound`."""
        ...

    def open(self, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; an interrupted read resumes by itself, within limits.

        Size and digest are verified while bytes flow: wrong content raises `ContentMismatch` instead of its last
        chunk. After a *start* above 0 the digest is checked only if this process has read the bytes before; otherwise
        the size alone. A *size* of None is allowed (Docker schema 1).
        """
        ...

    def tags(self) -> AsyncIterator[str]:
        """Yield every tag in the store's order, one page at a time; `NotFound` if the repository does not exist."""
        ...

    async def list_digests(self, wanted: int) -> None:
        """Add to `listed_digests` and `listed_dates` what the store lists in fewer requests than *wanted* HEADs.

        Call it after `tags`. It never fails: without such a list nothing is added.
        """
        ...

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return the digests that the pages of `tags` contained; empty if the registry lists none.

        They may be slightly outdated, so use them only to find that nothing has changed.
        """
        ...

    def listed_dates(self) -> Mapping[str, datetime]:
        """Return since when the tags in the pages of `tags` hold their digests; empty if the registry lists no dates.

        The dates belong to the digests of `listed_digests`.
        """
        ...


class BlobTarget(Protocol):
    """A repository that blobs are written to. Every push is idempotent."""

    async def has_blob(self, blob: Descriptor, *, expected: bool = False) -> bool:
        """Whether the repository is known to hold *blob*; False also where a push costs less than to find out.

        *expected*: there is a sign that it does, so it is worth a request.
        """
        ...

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*; wrong bytes are never committed (`ContentMismatch`).

        Opens *content* once per attempt, from where the previous attempt stopped if possible.
        """
        ...

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Mount *blob* from the repository *origin* of the same registry; False means that a push is needed."""
        ...


class Fence(Protocol):
    """Tells whether a copy may still write tags. A worker that lost its job must not overwrite newer images."""

    async def check(self) -> None:
        """Return if the copy may write now; raises `LeaseLost`."""
        ...


class Target(BlobTarget, Protocol):
    """A repository that images are written to, blobs first."""

    async def is_new(self) -> bool:
        """Whether it is known not to exist yet, apart from what this process writes; False if that is uncertain."""
        ...

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return the descriptor that *identifier* names now; None if it (or the repository) does not exist yet."""
        ...

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` if the store lacks content of it.

        Checks *fence* right before each request, after all waits: `LeaseLost`, and nothing is sent.
        """
        ...

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Set as many of *tags* as one request can to *manifest*, which the repository holds; return those.

        The result contains only tags that the store confirms; the others may name *manifest* or not. It is empty if
        the store sets one tag at a time; use `push_manifest` then. *fence* as in `push_manifest`.
        """
        ...


class Catalogue(Protocol):
    """The repositories of a registry."""

    def repositories(self) -> AsyncIterator[Sequence[Repository]]:
        """Yield the repositories that the registry lists to this login, a page at a time; some may be repeated.

        `CatalogueClosed` if the registry has no such list, or none for this login.
        """
        ...


class Stores(Protocol):
    """Gives access to the repositories of every registry; equal arguments return the same object."""

    def source(self, repository: Repository) -> Source:
        """Return *repository* as a source."""
        ...

    def target(self, repository: Repository) -> Target:
        """Return *repository* as a target."""
        ...

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Prepare requests to *repository* as *side* that follow: scheme, token, and *connections* if it is far."""
        ...

    def is_far(self, registry: str) -> bool:
        """Whether round trips to *registry* are long, so that more at once carries more; False while unknown."""
        ...

    async def catalogue(self, repository: Repository) -> Catalogue:
        """Return the list of repositories at the registry of *repository*, which the login for *repository* reads.

        Repositories with the same login have the same list, by identity.
        """
        ...
