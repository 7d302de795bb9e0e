"""Caches over a backend that outlives the process.

This process's own results are in memory and available at once. Everything else is queried from the backend, in batches.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from image_syncer.cache.backend import BlobRecord, FilteredRecord, FilterKey, LazyBackend, UploadRecord, is_storable
from image_syncer.cache.blob_claims import BlobClaims
from image_syncer.cache.host_facts import PersistentHostFacts
from image_syncer.cache.memory import (
    MemoryBlobLocations,
    MemoryDigestCache,
    MemoryHostFacts,
    MemoryReferrerCache,
    MemoryUploadJournal,
)
from image_syncer.cache.referrer_checks import PersistentReferrerCache
from image_syncer.cache.tag_times import (
    MemoryFirstSeen,
    MemoryImageDates,
    PersistentFirstSeen,
    PersistentImageDates,
)
from image_syncer.cache.write_behind import MAX_PENDING, WriteBehind
from image_syncer.oci import Descriptor, Digest, PlatformFilter, Repository
from image_syncer.roles import (
    BlobLocations,
    ConfirmedCopy,
    DigestCache,
    FirstSeen,
    HostFacts,
    ImageDates,
    ReferrerCache,
    UploadCheckpoint,
    UploadJournal,
)
from image_syncer.structs import Struct

_NEGATIVE_SECONDS: Final = 300.0  # Other processes may have recorded more by then.
_NEGATIVE_LIMIT: Final = 50_000
_MEMORY_LIMIT: Final = 2 * MAX_PENDING  # Every unwritten record, and as many again; the backend has the rest.

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


async def _no_warnings() -> Sequence[str]:
    return ()


class Caches(Struct):
    """What a run learns from earlier runs, and records for later ones.

    Call *flush* at the end of a run: it writes pending records, and returns warnings for the user.
    """

    blob_locations: BlobLocations
    digests: DigestCache
    uploads: UploadJournal
    facts: HostFacts
    referrers: ReferrerCache
    first_seen: FirstSeen
    image_dates: ImageDates
    flush: Callable[[], Awaitable[Sequence[str]]] = _no_warnings


def in_memory() -> Caches:
    """Return caches that end with the process."""
    return Caches(
        MemoryBlobLocations(),
        MemoryDigestCache(),
        MemoryUploadJournal(),
        MemoryHostFacts(),
        MemoryReferrerCache(),
        MemoryFirstSeen(),
        MemoryImageDates(),
    )


@asynccontextmanager
async def for_run(lazy: LazyBackend, warnings: list[str] | None = None) -> AsyncGenerator[Caches]:
    """Yield caches over *lazy* for one run or a few; after its first failure the backend is not used again.

    The next `flush` returns *warnings* too, to which the backend may add some.
    """
    warnings = [] if warnings is None else warnings
    buffer = WriteBehind(lazy, warnings.append)

    async def flush() -> Sequence[str]:
        await buffer.flush(tidy=True)
        taken = tuple(warnings)
        warnings.clear()
        return taken

    claims = BlobClaims(buffer)
    async with _flushing(buffer, claims):
        yield Caches(*_roles(buffer, claims), flush)


@asynccontextmanager
async def for_daemon(lazy: LazyBackend, warn: Callable[[str], None], *, rest_seconds: float) -> AsyncGenerator[Caches]:
    """Yield caches over *lazy* for a daemon; after a failure the backend is not used for *rest_seconds*."""
    buffer = WriteBehind(lazy, warn, rest_seconds=rest_seconds)
    claims = BlobClaims(buffer)
    async with _flushing(buffer, claims):
        yield Caches(*_roles(buffer, claims))


class PersistentBlobLocations:
    """`BlobLocations` over the backend of *buffer*; without *claims*, every claim succeeds."""

    def __init__(
        self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic, *, claims: BlobClaims | None = None
    ) -> None:
        self._buffer = buffer
        self._claims = claims
        self._announcements = 0
        self._memory = MemoryBlobLocations(_MEMORY_LIMIT)
        self._absent: _RecentKeys[tuple[str, Digest]] = _RecentKeys(clock)
        self._unknown_registries: _RecentKeys[str] = _RecentKeys(clock)
        self._forgotten: _RecentKeys[tuple[Repository, Digest]] = _RecentKeys(clock)

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each known one of *blobs*."""
        known = await self._memory.holders(registry, blobs)
        missing = [digest for digest in blobs if digest not in known and (registry, digest) not in self._absent]
        if not missing or registry in self._unknown_registries:
            return known
        found = await self._buffer.query(lambda backend: backend.holders(registry, missing), default=None)
        if found is None:
            self._unknown_registries.add(registry)
        else:
            self._merge(registry, missing, found)
        return await self._memory.holders(registry, blobs)

    def _merge(self, registry: str, queried: Collection[Digest], found: Mapping[Digest, Repository]) -> None:
        """Keep the backend's answer. What this process recorded while the query ran is newer, and wins."""
        for digest in queried:
            repository = found.get(digest)
            if repository is None or (repository, digest) in self._forgotten:
                self._absent.add((registry, digest))
            elif not self._memory.has_holder(registry, digest):
                self._memory.add(repository, digest)

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Record that *repository* holds *blob*."""
        self._memory.record(repository, blob)
        self._forgotten.discard((repository, blob.digest))
        self._buffer.put(BlobRecord(repository, blob.digest, blob.size))

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Record that *repository* does not hold *digest*."""
        self._memory.forget(repository, digest)
        self._forgotten.add((repository, digest))
        if not self._memory.has_holder(repository.registry, digest):
            self._buffer.put(BlobRecord(repository, digest, is_held=False))

    async def claim(self, registry: str, digest: Digest) -> bool:
        """Claim the upload of *digest* to *registry*; False while another process has the claim."""
        if self._claims is None:
            return True
        is_claimed = await self._claims.claim((registry, digest))
        if self._claims.announcements != self._announcements:
            # While this process claimed nothing, others may have come and gone.
            self._announcements = self._claims.announcements
            self._absent.clear()
            self._unknown_registries.clear()
        if self._claims.had_others_within(_NEGATIVE_SECONDS):
            # Another process may have recorded where it is, or will do so.
            self._absent.discard((registry, digest))
            self._unknown_registries.discard(registry)
        return is_claimed

    def release(self, registry: str, digest: Digest) -> None:
        """Release the claim, if this process has it."""
        if self._claims is not None:
            self._claims.release((registry, digest))


class PersistentDigestCache:
    """`DigestCache` over the backend of *buffer*."""

    def __init__(self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer = buffer
        self._memory = MemoryDigestCache(clock, _MEMORY_LIMIT)
        self._absent: _RecentKeys[FilterKey] = _RecentKeys(clock)
        self._filtered: _BatchedQuery[FilterKey, Digest] = _BatchedQuery(
            lambda keys: buffer.query(lambda backend: backend.filtered_digests(keys), default={})
        )

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of *source* after filtering by *platforms*; None if unknown."""
        known = await self._memory.filtered_digest(source, platforms)
        if known is not None or (source, platforms) in self._absent:
            return known
        found = await self._filtered.get((source, platforms))
        if found is None:
            self._absent.add((source, platforms))
        else:
            self._memory.record_filtered(source, platforms, found)
        return found

    def record_filtered(self, source: Digest, platforms: PlatformFilter, filtered: Digest) -> None:
        """Record that *source*, filtered by *platforms*, has the digest *filtered*."""
        self._memory.record_filtered(source, platforms, filtered)
        self._buffer.put(FilteredRecord(source, platforms, filtered))

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what each tag or digest of *repository* named, if confirmed within the last *seconds*."""
        found = await self._buffer.query(lambda backend: backend.target_digests(repository, seconds), default={})
        return {**found, **await self._memory.target_digests(repository, seconds)}

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Record *copies* as confirmed now."""
        self._memory.record_copies(copies)
        for copy in copies:
            self._buffer.put(copy)


class PersistentUploadJournal:
    """`UploadJournal` over the backend of *buffer*; locations that contain secrets stay in this process."""

    def __init__(self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer = buffer
        self._memory = MemoryUploadJournal()
        self._absent: _RecentKeys[tuple[Repository, Digest]] = _RecentKeys(clock)

    def record(self, repository: Repository, digest: Digest, checkpoint: UploadCheckpoint) -> None:
        """Record how far the upload of *digest* to *repository* has come."""
        self._memory.record(repository, digest, checkpoint)
        self._absent.discard((repository, digest))
        self._buffer.put(UploadRecord(repository, digest, checkpoint if is_storable(checkpoint) else None))

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Claim the upload of *digest* to *repository* that no live process works on; None without one.

        This creates a state that does not exist yet, since an upload follows: creating it takes longer than sending the
        first chunk may, and a process that is killed then would leave no record.
        """
        known = await self._memory.take(repository, digest)
        if known is not None or (repository, digest) in self._absent:
            return known
        return await self._buffer.query(
            lambda backend: backend.take_upload(repository, digest), default=None, create=True
        )

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Remove the upload: it has ended."""
        self._memory.forget(repository, digest)
        self._absent.add((repository, digest))
        self._buffer.put(UploadRecord(repository, digest, None))


class _RecentKeys(Generic[Key]):
    """The keys that were added within the last 300 seconds; at most 50 000, the newest ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._added: OrderedDict[Key, float] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return self._clock() - self._added.get(key, -math.inf) < _NEGATIVE_SECONDS

    def __len__(self) -> int:
        return len(self._added)

    def add(self, key: Key) -> None:
        now = self._clock()
        self._added[key] = now
        self._added.move_to_end(key)
        while len(self._added) > _NEGATIVE_LIMIT or now - next(iter(self._added.values())) >= _NEGATIVE_SECONDS:
            self._added.popitem(last=False)

    def discard(self, key: Key) -> None:
        self._added.pop(key, None)

    def clear(self) -> None:
        self._added.clear()


class _BatchedQuery(Generic[Key, Value]):
    """Runs one *query* at a time; keys requested while it runs share the next query.

    A caller that holds the lock queries for all waiting keys. If it is cancelled, the keys keep waiting, and the next
    caller in line queries for them.
    """

    def __init__(self, query: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._query = query
        self._lock = asyncio.Lock()
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}

    async def get(self, key: Key) -> Value | None:
        answer = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        async with self._lock:
            if not answer.done():
                await self._answer_all()
        return answer.result()

    async def _answer_all(self) -> None:
        keys = list(self._waiting)
        found = await self._query(keys)
        for key in keys:
            self._waiting.pop(key).set_result(found.get(key))


def _roles(
    buffer: WriteBehind, claims: BlobClaims
) -> tuple[BlobLocations, DigestCache, UploadJournal, HostFacts, ReferrerCache, FirstSeen, ImageDates]:
    return (
        PersistentBlobLocations(buffer, claims=claims),
        PersistentDigestCache(buffer),
        PersistentUploadJournal(buffer),
        PersistentHostFacts(buffer),
        PersistentReferrerCache(buffer),
        PersistentFirstSeen(buffer),
        PersistentImageDates(buffer),
    )


@asynccontextmanager
async def _flushing(buffer: WriteBehind, claims: BlobClaims) -> AsyncGenerator[None]:
    """Flush *buffer* and keep *claims* alive in the background within the context; close the buffer at the end."""
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = (
                group.create_task(buffer.keep_flushing(), name="state: flush"),
                group.create_task(claims.keep_alive(), name="state: claims"),
            )
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, since the group would wrap it in a group
                failure = error
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await claims.withdraw()
        await buffer.close()
    if failure is not None:
        raise failure
