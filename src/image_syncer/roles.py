"""The roles that a registry, a layout on disk or a store in memory can play for a copy.

Every implementation passes the contract suite in `tests/contract`. All methods raise `errors.StoreError`.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from image_syncer.oci import Descriptor, Digest, PlatformFilter, RawManifest, Reference, Repository

Chunk = bytes | bytearray | memoryview
"""A piece of content; valid only until the next one is asked for, since buffers are reused."""


class Opener(Protocol):
    """Content that can be read again each time it is opened: whenever a push must be repeated, or go on."""

    def __call__(self, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open it for one read from byte *start*."""
        ...


class Source(Protocol):
    """Where images are read: one repository."""

    async def resolve(self, identifier: str) -> Descriptor:
        """Return what the tag or digest *identifier* names now, cheaply (a HEAD); `NotFound` if it names nothing."""
        ...

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified against the digest if that is one; `NotFound`."""
        ...

    def open(self, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; a read that breaks off goes on by itself, as long as it can.

        Size and digest are checked while bytes flow: the last chunk is handed out only when all are right, otherwise
        `ContentMismatch`. The digest of a read from the middle can be checked only where this process has read what
        is before; otherwise the size alone. A *size* of None is tolerated (Docker schema 1).
        """
        ...

    def tags(self) -> AsyncIterator[str]:
        """Yield every tag in the store's order, one page at a time; `NotFound` where the repository is not there."""
        ...

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return what the listing of `tags` has said that tags name, empty where it says nothing.

        It may be a little old, so it is good for finding that nothing has changed, and for nothing else.
        """
        ...


class BlobTarget(Protocol):
    """Where blobs are written: one repository. Every push may be repeated without harm."""

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds *blob*."""
        ...

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*; wrong bytes are never committed (`ContentMismatch`).

        *content* is opened once per attempt, from where the attempt before left off if that can be.
        """
        ...

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Take *blob* over from the repository *origin* of the same registry; False means "then push"."""
        ...


class Fence(Protocol):
    """Tells whether a copy may still write tags. A worker that lost its job must not overwrite newer images."""

    async def check(self) -> None:
        """Return if the copy may write now; raises `LeaseLost`."""
        ...


class Target(BlobTarget, Protocol):
    """Where images are written: one repository, blobs first."""

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return what *identifier* names now, None if it (or the repository) is not there yet."""
        ...

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` where it names what is not there.

        *fence* is checked right before each request, after all waits: `LeaseLost`, and nothing is sent.
        """
        ...

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Give *manifest*, which the repository holds, as many of *tags* as one request can; return which got it.

        Empty where the store takes one tag at a time, which `push_manifest` does. Only what the store confirms is
        returned; the others may or may not name it. *fence* as in `push_manifest`.
        """
        ...


class Stores(Protocol):
    """Hands out the repositories of every registry; equal arguments give the same object for the whole run."""

    def source(self, repository: Repository) -> Source:
        """Return *repository* to read from."""
        ...

    def target(self, repository: Repository) -> Target:
        """Return *repository* to write to."""
        ...


class BlobLocations(Protocol):
    """Where blobs are believed to be: which repository of a target registry got one last.

    It may be wrong, old or empty, which costs requests and nothing else; so no method raises.
    """

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each of *blobs* that is known there; others are left out."""
        ...

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Note that *repository* holds *blob*: it was pushed, mounted or found there."""
        ...

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that *repository* does not hold *digest* after all."""
        ...


@dataclass(frozen=True, slots=True)
class ConfirmedCopy:
    """That *target* named *target_digest* a moment ago, which is what *source_digest* makes under *platforms*.

    *written*: because we put it there, not because we found it so.
    """

    rule: str
    source: Reference
    source_digest: Digest
    platforms: PlatformFilter
    target: Reference
    target_digest: Digest
    written: bool


class DigestCache(Protocol):
    """What earlier runs found and wrote. Like `Knowledge` it may be wrong or empty, and no method raises."""

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of what *platforms* leave of the index or image *source*; None where it is not known."""
        ...

    def record_filtered(self, source: Digest, platforms: PlatformFilter, trimmed: Digest) -> None:
        """Note that *platforms* leave *trimmed* of *source*."""
        ...

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what the tags and digests of the target *repository* named when we last looked or wrote.

        Only what was confirmed within the last *seconds*.
        """
        ...

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Note what *copies* say, as of now."""
        ...


@dataclass(frozen=True, slots=True)
class UploadCheckpoint:
    """An upload that was begun: its *location*, and how many bytes the registry had of it."""

    location: str = field(repr=False)  # Whoever has it may write there.
    offset_bytes: int


class UploadJournal(Protocol):
    """Uploads that did not end. Like `Knowledge` it may be wrong or empty, and no method raises."""

    def record(self, repository: Repository, digest: Digest, unfinished: UploadCheckpoint) -> None:
        """Note how far the upload of the blob *digest* to *repository* has come."""
        ...

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Return the upload of *digest* to *repository* that nobody works on, which is ours then; None without one."""
        ...

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that there is nothing to go on with: the upload has ended, or the registry does not know it."""
        ...
