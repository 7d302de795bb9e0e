"""Mirrors of a registry, tried first for content that a digest names.

Tags are resolved at the registry itself, since a mirror may be stale. A mirror gets one attempt for each request; then
the next mirror and at last the registry itself deliver the same content. One that fails is not asked for a minute, one
that sends wrong content not for an hour.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Final

from image_syncer.cache import DigestCheckpoints
from image_syncer.errors import ContentMismatch, InvalidReference, NotFound, StoreError
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.manifests import ReadAhead
from image_syncer.registry.repository import BulkListingsOf, Connect, RegistrySource
from image_syncer.roles import Chunk
from image_syncer.structs import Struct

MIRROR_POLICY: Final = RetryPolicy(
    attempts=1, patience=0.0, quota_patience=0.0, outage_patience=0.0, absent_patience=0.0
)
"""A mirror is not waited for: the registry itself has the same content."""

_FAILED_SECONDS: Final = 60.0
_WRONG_SECONDS: Final = 3600.0


class Mirror(Struct, frozen=False):
    """The mirror at *location*, `registry` or `registry/prefix`; not asked before *usable_at* (`time.monotonic`)."""

    location: str
    usable_at: float = 0.0

    def repository(self, path: str) -> Repository:
        """Return the repository that mirrors the one at *path*."""
        return Repository.parse(f"{self.location}/{path}")

    def note(self, error: StoreError) -> None:
        """Record *error*: what a mirror does not have says nothing about the rest of it."""
        if isinstance(error, ContentMismatch):
            self.usable_at = time.monotonic() + _WRONG_SECONDS
        elif not isinstance(error, NotFound):
            self.usable_at = time.monotonic() + _FAILED_SECONDS


class MirroredSource(RegistrySource):
    """A repository whose content is read from *mirrors* first; *source_at* returns a mirror's repository."""

    __slots__ = ("_mirrors", "_source_at")

    def __init__(  # noqa: PLR0913 - each is an independent part
        self,
        repository: Repository,
        connect: Connect,
        checkpoints: DigestCheckpoints,
        read_ahead: ReadAhead,
        bulk_listings: BulkListingsOf,
        *,
        mirrors: Sequence[Mirror],
        source_at: Callable[[Repository], RegistrySource],
    ) -> None:
        super().__init__(repository, connect, checkpoints, read_ahead, bulk_listings)
        self._mirrors = mirrors
        self._source_at = source_at

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified; `NotFound`. A digest is read from mirrors first."""
        if ":" in identifier:
            with suppress(InvalidReference):
                reference = self._repository.at(Digest.parse(identifier))
                if self._read_ahead is not None and (ahead := self._read_ahead.take(reference)) is not None:
                    return ahead
            for mirror, source in self._usable():
                try:
                    return await source.manifest(identifier)
                except StoreError as error:
                    mirror.note(error)
        return await super().manifest(identifier)

    @asynccontextmanager
    async def open(self, blob: Descriptor, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*, from the first mirror that has it, or else from the registry."""
        for mirror, source in self._usable():
            stack = AsyncExitStack()
            try:
                chunks = await stack.enter_async_context(source.open(blob, start))
            except StoreError as error:
                mirror.note(error)
                continue
            async with stack, aclosing(self._with_rest(mirror, stack, chunks, blob, start)) as whole:
                yield whole
            return
        async with super().open(blob, start) as chunks:
            yield chunks

    async def _with_rest(
        self, mirror: Mirror, stack: AsyncExitStack, chunks: AsyncIterator[Chunk], blob: Descriptor, start: int
    ) -> AsyncGenerator[Chunk]:
        """Yield *chunks* of *mirror*; if they break off, the registry itself sends the rest.

        Wrong content is an error: it is unknown which bytes are wrong, and the next read goes to another place.
        """
        position = start
        try:
            async for chunk in chunks:
                position += len(chunk)
                yield chunk
        except ContentMismatch as error:
            mirror.note(error)
            raise
        except StoreError as error:
            mirror.note(error)
        else:
            return
        await stack.aclose()  # First: the mirror's read holds a download slot.
        async with super().open(blob, position) as rest:
            async for chunk in rest:
                yield chunk

    def _usable(self) -> Iterator[tuple[Mirror, RegistrySource]]:
        for mirror in self._mirrors:
            if time.monotonic() >= mirror.usable_at:
                yield mirror, self._source_at(mirror.repository(self._repository.path))
