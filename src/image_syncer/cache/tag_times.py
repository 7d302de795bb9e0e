"""Since when tags are public, and when images were created: in memory, and over a backend that outlives the process."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from image_syncer.cache.backend import CreatedRecord
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.errors import Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.roles import Sighting

_LIMIT: Final = 100_000


class MemoryFirstSeen:
    """`FirstSeen` that ends with the process."""

    is_durable = False

    def __init__(self) -> None:
        self._times: dict[Repository, dict[str, dict[Digest, datetime]]] = {}

    async def times(self, repository: Repository, tags: Collection[str]) -> Mapping[str, Mapping[Digest, datetime]]:
        """Return the first time of each digest of each one of *tags* that was seen."""
        known = self._times.get(repository, {})
        return {tag: dict(known[tag]) for tag in tags if tag in known}

    async def record(self, repository: Repository, sightings: Iterable[Sighting]) -> None:
        """Record *sightings*; the first one of a tag with a digest stays."""
        known = self._times.setdefault(repository, {})
        for one in sightings:
            known.setdefault(one.tag, {}).setdefault(one.digest, one.seen_at)


class PersistentFirstSeen:
    """`FirstSeen` over the backend of *buffer*, without a cache: `sync.tag_dates` keeps what it reads."""

    is_durable = True

    def __init__(self, buffer: WriteBehind) -> None:
        self._buffer = buffer

    async def times(self, repository: Repository, tags: Collection[str]) -> Mapping[str, Mapping[Digest, datetime]]:
        """Return the first time of each digest of each one of *tags* that was seen; `Unavailable`."""
        found = await self._buffer.query(
            lambda backend: backend.first_seen(repository, tags), default=None, create=True
        )
        if found is None:
            raise _unavailable(repository)
        return found

    async def record(self, repository: Repository, sightings: Iterable[Sighting]) -> None:
        """Record *sightings*, durably when this returns; `Unavailable`."""
        seen = tuple(sightings)

        if not await self._buffer.query(
            lambda backend: backend.record_first_seen(repository, seen), default=False, create=True
        ):
            raise _unavailable(repository)


class MemoryImageDates:
    """`ImageDates` in memory; drops the oldest of *limit* dates."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._dates: OrderedDict[Digest, datetime | None] = OrderedDict()

    async def created(self, digests: Collection[Digest]) -> Mapping[Digest, datetime | None]:
        """Return the date of each known one of *digests*."""
        return {digest: self._dates[digest] for digest in digests if digest in self._dates}

    def record(self, digest: Digest, created: datetime | None) -> None:
        """Record when the image or index *digest* was created."""
        self._dates[digest] = created
        if len(self._dates) > self._limit:
            self._dates.popitem(last=False)


class PersistentImageDates:
    """`ImageDates` over the backend of *buffer*."""

    def __init__(self, buffer: WriteBehind) -> None:
        self._buffer = buffer
        self._memory = MemoryImageDates()

    async def created(self, digests: Collection[Digest]) -> Mapping[Digest, datetime | None]:
        """Return the date of each known one of *digests*."""
        known = dict(await self._memory.created(digests))
        missing = [digest for digest in digests if digest not in known]
        if missing:
            known |= await self._buffer.query(lambda backend: backend.created(missing), default={})
        return known

    def record(self, digest: Digest, created: datetime | None) -> None:
        """Record when the image or index *digest* was created."""
        self._memory.record(digest, created)
        self._buffer.put(CreatedRecord(digest, created))


def _unavailable(repository: Repository) -> Unavailable:
    return Unavailable(
        f"{repository}: the state does not say since when its tags are public",
        remedy="a warning says why the state cannot be used; without it min_age would copy too early",
    )
