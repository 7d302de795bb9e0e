"""Knowledge, history and unfinished uploads that outlive the process.

What this process found is in memory and known at once; the rest is asked of an archive, in batches.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from image_syncer.cache.backend import BlobRecord, FilteredRecord, FilterKey, LazyBackend, UploadRecord, may_be_kept
from image_syncer.cache.memory import MemoryBlobLocations, MemoryDigestCache, MemoryUploadJournal
from image_syncer.cache.write_behind import MOST_NOTES, WriteBehind
from image_syncer.oci import Descriptor, Digest, PlatformFilter, Repository
from image_syncer.roles import BlobLocations, ConfirmedCopy, DigestCache, UploadCheckpoint, UploadJournal

_LATELY_SECONDS: Final = 300.0  # Others may have found out more by then.
_LATELY_LIMIT: Final = 50_000
_AT_HAND: Final = 2 * MOST_NOTES  # What is not written yet, and as much again; the archive has the rest.

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


async def _nothing() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Caches:
    """What runs are told by earlier ones, and tell later ones.

    *settle* is called at the end of a run: it writes down what is still only noted, and returns what people should
    know.
    """

    blob_locations: BlobLocations
    digests: DigestCache
    uploads: UploadJournal
    flush: Callable[[], Awaitable[Sequence[str]]] = _nothing


def in_memory() -> Caches:
    """Return memories that end with the process."""
    return Caches(MemoryBlobLocations(), MemoryDigestCache(), MemoryUploadJournal())


@asynccontextmanager
async def for_run(shelf: LazyBackend) -> AsyncGenerator[Caches]:
    """Yield memories over *shelf* for one run, or a few: once its archive is in trouble it is left alone."""
    troubles: list[str] = []
    ledger = WriteBehind(shelf, troubles.append)

    async def settle() -> Sequence[str]:
        await ledger.flush(tidy=True)
        said = tuple(troubles)
        troubles.clear()
        return said

    async with _flushed(ledger):
        yield Caches(*_roles(ledger), settle)


@asynccontextmanager
async def for_daemon(shelf: LazyBackend, warn: Callable[[str], None], *, rest_seconds: float) -> AsyncGenerator[Caches]:
    """Yield memories over *shelf* for a process that runs for ever: after trouble the archive rests *rest_seconds*."""
    ledger = WriteBehind(shelf, warn, rest_seconds=rest_seconds)
    async with _flushed(ledger):
        yield Caches(*_roles(ledger))


class PersistentBlobLocations:
    """`Knowledge` over the archive of *ledger*."""

    def __init__(self, ledger: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._own = MemoryBlobLocations(_AT_HAND)
        self._absent: _RecentKeys[tuple[str, Digest]] = _RecentKeys(clock)
        self._strange: _RecentKeys[str] = _RecentKeys(clock)
        self._lost: _RecentKeys[tuple[Repository, Digest]] = _RecentKeys(clock)

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each of *blobs* that is known there."""
        known = await self._own.holders(registry, blobs)
        asked = [digest for digest in blobs if digest not in known and (registry, digest) not in self._absent]
        if not asked or registry in self._strange:
            return known
        found = await self._ledger.ask(lambda archive: archive.holders(registry, asked), otherwise=None)
        if found is None:
            self._strange.add(registry)
        else:
            self._take(registry, asked, found)
        return await self._own.holders(registry, blobs)

    def _take(self, registry: str, asked: Collection[Digest], found: Mapping[Digest, Repository]) -> None:
        """Note what the archive said, unless we know better by now."""
        for digest in asked:
            repository = found.get(digest)
            if repository is None or (repository, digest) in self._lost:
                self._absent.add((registry, digest))
            elif not self._own.has_holder(registry, digest):
                self._own.add(repository, digest)

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Note that *repository* holds *blob*."""
        self._own.record(repository, blob)
        self._lost.discard((repository, blob.digest))
        self._ledger.note(BlobRecord(repository, blob.digest, blob.size))

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that *repository* does not hold *digest* after all."""
        self._own.forget(repository, digest)
        self._lost.add((repository, digest))
        if not self._own.has_holder(repository.registry, digest):
            self._ledger.note(BlobRecord(repository, digest, is_held=False))


class PersistentDigestCache:
    """`History` over the archive of *ledger*."""

    def __init__(self, ledger: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._own = MemoryDigestCache(clock, _AT_HAND)
        self._absent: _RecentKeys[FilterKey] = _RecentKeys(clock)
        self._asking: _BatchedQuery[FilterKey, Digest] = _BatchedQuery(
            lambda keys: ledger.ask(lambda archive: archive.filtered_digests(keys), otherwise={})
        )

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of what *platforms* leave of *source*; None where it is not known."""
        known = await self._own.filtered_digest(source, platforms)
        if known is not None or (source, platforms) in self._absent:
            return known
        found = await self._asking.ask((source, platforms))
        if found is None:
            self._absent.add((source, platforms))
        else:
            self._own.record_filtered(source, platforms, found)
        return found

    def record_filtered(self, source: Digest, platforms: PlatformFilter, trimmed: Digest) -> None:
        """Note that *platforms* leave *trimmed* of *source*."""
        self._own.record_filtered(source, platforms, trimmed)
        self._ledger.note(FilteredRecord(source, platforms, trimmed))

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what the tags and digests of *repository* named within the last *seconds*."""
        found = await self._ledger.ask(lambda archive: archive.target_digests(repository, seconds), otherwise={})
        return {**found, **await self._own.target_digests(repository, seconds)}

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Note what *copies* say, as of now."""
        self._own.record_copies(copies)
        for copy in copies:
            self._ledger.note(copy)


class PersistentUploadJournal:
    """`UploadJournal` over the archive of *ledger*; locations that are secrets stay in this process."""

    def __init__(self, ledger: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._own = MemoryUploadJournal()
        self._absent: _RecentKeys[tuple[Repository, Digest]] = _RecentKeys(clock)

    def record(self, repository: Repository, digest: Digest, unfinished: UploadCheckpoint) -> None:
        """Note how far the upload of *digest* to *repository* has come."""
        self._own.record(repository, digest, unfinished)
        self._absent.discard((repository, digest))
        self._ledger.note(UploadRecord(repository, digest, unfinished if may_be_kept(unfinished) else None))

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Return the upload of *digest* to *repository* that nobody works on, which is ours then; None without one.

        Who asks begins one: making a state takes longer than the first chunk may, and a kill would find it unwritten.
        """
        known = await self._own.take(repository, digest)
        if known is not None or (repository, digest) in self._absent:
            return known
        return await self._ledger.ask(
            lambda archive: archive.take_upload(repository, digest), otherwise=None, makes=True
        )

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that there is nothing to go on with."""
        self._own.forget(repository, digest)
        self._absent.add((repository, digest))
        self._ledger.note(UploadRecord(repository, digest, None))


class _RecentKeys(Generic[Key]):
    """The keys that were added within the last 300 seconds; the oldest of 50 000 are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._added: OrderedDict[Key, float] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return self._clock() - self._added.get(key, -math.inf) < _LATELY_SECONDS

    def __len__(self) -> int:
        return len(self._added)

    def add(self, key: Key) -> None:
        now = self._clock()
        self._added[key] = now
        self._added.move_to_end(key)
        while len(self._added) > _LATELY_LIMIT or now - next(iter(self._added.values())) >= _LATELY_SECONDS:
            self._added.popitem(last=False)

    def discard(self, key: Key) -> None:
        self._added.pop(key, None)


class _BatchedQuery(Generic[Key, Value]):
    """Asks *query* for all that was asked for while it answered the last time."""

    def __init__(self, query: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._query = query
        self._turn = asyncio.Lock()
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}

    async def ask(self, key: Key) -> Value | None:
        answer = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        async with self._turn:
            if not answer.done():
                await self._answer_all()
        return answer.result()

    async def _answer_all(self) -> None:
        keys = list(self._waiting)
        found = await self._query(keys)  # Where we are cancelled, the next in turn asks for the same and more.
        for key in keys:
            self._waiting.pop(key).set_result(found.get(key))


def _roles(ledger: WriteBehind) -> tuple[BlobLocations, DigestCache, UploadJournal]:
    return PersistentBlobLocations(ledger), PersistentDigestCache(ledger), PersistentUploadJournal(ledger)


@asynccontextmanager
async def _flushed(ledger: WriteBehind) -> AsyncGenerator[None]:
    """Have *ledger* write now and then within the context, and close it."""
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(ledger.keep_flushing(), name="state: flush")
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below: the group would hand it on within a group
                failure = error
            finally:
                flushing.cancel()
    finally:
        await ledger.close()
    if failure is not None:
        raise failure
