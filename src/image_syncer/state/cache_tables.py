"""The persistent cache in the state: blob locations, digests, unfinished uploads, facts about registries.

A `CacheBackend` of `image_syncer.cache.backend`. Rows are hints, so the last writer wins.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from image_syncer.cache.backend import BlobKey, CacheRecord, FilterKey, Neighbours, ReleaseRecord
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import HostFact, ReferrerCheck, Sighting, UploadCheckpoint
from image_syncer.state import blob_claim_table, host_fact_table, referrer_tables, tag_time_rows
from image_syncer.state.cache_rows import (
    BLOBS,
    CHECKS,
    COPIES,
    CREATED,
    FACTS,
    FIRST_SEEN,
    TAGS,
    TRIMMED,
    UPLOADS,
    CacheTable,
    filter_text,
    write_records,
)
from image_syncer.state.column_values import instant_of, microseconds, words
from image_syncer.state.database_url import SqliteFile, parse_database_url
from image_syncer.state.host_fact_table import MOST_FACTS
from image_syncer.state.process_identity import is_gone, this_process
from image_syncer.state.referrer_tables import MOST_ROWS
from image_syncer.state.sql_session import SqlDatabase, SqlSession, Values, chunks, parameters
from image_syncer.state.sqlite_database import open_sqlite_database
from image_syncer.state.trusted_clock import TrustedClock, Uptime, uptime_now
from image_syncer.sync import platform_filter

BLOB_RETENTION: Final = timedelta(days=90)
"""How long a blob location is kept after it was last confirmed."""

FIRST_SEEN_RETENTION: Final = timedelta(days=400)
"""How long it is kept since when a tag is public, after it was last seen: longer than the longest `min_age`."""

MOST_BLOBS: Final = 1_000_000

_CALL_SECONDS: Final = 10.0  # Short, since a run works without the cache.
_ABANDONED_AFTER: Final = timedelta(minutes=1)  # An active upload records each chunk, and a chunk takes less.
_CLOCK_SKEW: Final = timedelta(minutes=1)  # Largest difference between the clocks of processes that share a state.
_PRUNE_BATCH: Final = 500
_MOST_BATCHES: Final = 100  # The next run prunes the rest.

_SELECT_HOLDERS: Final = """
    SELECT digest, repository FROM image_syncer_blobs WHERE registry = :registry AND digest IN ({digests})
"""
_SELECT_REGISTRY: Final = "SELECT digest FROM image_syncer_blobs WHERE registry = :registry LIMIT 1"
_SELECT_TARGETS: Final = """
    SELECT identifier, target_digest FROM image_syncer_copies
    WHERE repository = :repository AND confirmed_at BETWEEN :since AND :until ORDER BY confirmed_at
"""
_SELECT_TRIMMED: Final = """
    SELECT source_digest, digest FROM image_syncer_trimmed
    WHERE source_digest IN ({sources}) AND platforms = :platforms AND trim_version = :version
"""
_IS_UPLOAD: Final = "registry = :registry AND repository = :repository AND digest = :digest"
_SELECT_UPLOAD: Final = f"""
    SELECT location, offset_bytes, updated_at, holder FROM image_syncer_uploads WHERE {_IS_UPLOAD}
"""  # noqa: S608 - our condition
# Compare and swap: of several processes that read the same row, one claims it.
_CLAIM_UPLOAD: Final = f"""
    UPDATE image_syncer_uploads SET holder = :claimer, updated_at = :now
    WHERE {_IS_UPLOAD} AND holder = :holder AND updated_at = :updated_at
"""  # noqa: S608 - our condition


@asynccontextmanager
async def open_cache_backend(
    url: str, *, keep: timedelta, warn: Callable[[str], None] | None = None
) -> AsyncGenerator["StateCacheBackend"]:
    """Yield the cache in the state at *url*, for one run; raises like `open_state`.

    A file is used without SQLAlchemy, whose import takes longer than many a run. *warn* gets warnings about it; None
    logs them.
    """
    location = parse_database_url(url)
    if isinstance(location, SqliteFile):
        async with open_sqlite_database(location, patience=_CALL_SECONDS, warn=warn) as database:
            yield StateCacheBackend(database, keep=keep)
        return
    from image_syncer.state.state import open_state  # noqa: PLC0415 - a slow import

    async with open_state(url, patience=_CALL_SECONDS) as state:
        yield StateCacheBackend(state.database, keep=keep)


class StateCacheBackend:
    """The cache in *database*. Rows expire *keep* after their last confirmation, blob locations after 90 days.

    *holder* identifies the process that works on uploads (None: this one); *uptime* tells how long the machine is up.
    """

    def __init__(
        self,
        database: SqlDatabase,
        *,
        keep: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        holder: str | None = None,
        uptime: Callable[[], Uptime] = uptime_now,
    ) -> None:
        self._database = database
        self._clock = TrustedClock(database, now=now, uptime=uptime)
        self._keep = keep
        self._now = now
        self._holder = this_process() if holder is None else holder
        self._claimer = self._holder or uuid4().hex
        self._announced_at: datetime | None = None
        self._shares = False

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Return a repository of *registry* for each known digest; None if no blob of the registry is known."""
        return await self._database.read_sql(lambda session: _select_holders(session, registry, digests))

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Return the trimmed digest of each known key, for the current version of the trimming rules."""
        return await self._database.read_sql(lambda session: _select_trimmed(session, keys))

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return the digest of each tag or digest of *repository* that was confirmed within the last *seconds*."""
        now = self._now()
        values = {
            "repository": words(str(repository)),
            "since": microseconds(now - timedelta(seconds=seconds)),
            "until": microseconds(now + _CLOCK_SKEW),
        }
        rows = await self._database.read_sql(lambda session: session.rows(_SELECT_TARGETS, values))
        return {identifier: Digest.parse(digest) for identifier, digest in rows}

    async def take_upload(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Claim and return an abandoned upload for this process; None without one.

        An upload is abandoned if its process has ended, or was not updated for a minute where that cannot be known.
        """
        key = {
            "registry": words(repository.registry),
            "repository": words(repository.path),
            "digest": words(str(digest)),
        }
        rows = await self._database.read_sql(lambda session: session.rows(_SELECT_UPLOAD, key))
        for location, offset_bytes, updated_at, holder in rows:
            now = self._now()
            if self._is_abandoned(holder, now - instant_of(updated_at)):
                found: Values = {"holder": holder, "updated_at": updated_at}
                claim = {**key, **found, "claimer": self._holder, "now": microseconds(now)}
                if await self._database.write_sql(lambda session, claim=claim: session.change(_CLAIM_UPLOAD, claim)):
                    return UploadCheckpoint(location, offset_bytes)
        return None

    def _is_abandoned(self, holder: str, age: timedelta) -> bool:
        return (holder and holder == self._holder) or is_gone(holder) or age > _ABANDONED_AFTER

    async def host_facts(self, host: str) -> Mapping[str, tuple[HostFact, float]]:
        """Return the facts about *host* by key, each with the seconds until it expires."""
        now = self._now()
        return await self._database.read_sql(lambda session: host_fact_table.select_facts(session, host, now))

    async def referrer_checks(
        self, repository: Repository, subjects: Collection[Digest]
    ) -> Mapping[Digest, ReferrerCheck]:
        """Return the last check of the referrers of each one of *subjects* in *repository* that was checked."""
        return await self._database.read_sql(
            lambda session: referrer_tables.select_checks(session, repository, subjects)
        )

    async def attached_tags(self, repository: Repository) -> Mapping[str, Digest]:
        """Return what this tool last wrote at each legacy tag of the target *repository*."""
        return await self._database.read_sql(lambda session: referrer_tables.select_tags(session, repository))

    async def first_seen(
        self, repository: Repository, tags: Collection[str]
    ) -> Mapping[str, Mapping[Digest, datetime]]:
        """Return the first time of each digest of each one of *tags* of *repository* that was seen."""
        found = await self._database.read_sql(
            lambda session: tag_time_rows.select_first_seen(session, repository, tags)
        )
        stale = tag_time_rows.rows_to_renew(repository, found, self._now())
        if stale:
            await self._database.write_sql(lambda session: FIRST_SEEN.upsert(session, stale))
        return {tag: {row.digest: row.first_seen_at for row in rows} for tag, rows in found.items()}

    async def record_first_seen(self, repository: Repository, sightings: Collection[Sighting]) -> bool:
        """Record *sightings*; the first one of a tag with a digest stays. True once they are durable."""
        now = self._now()
        rows = [tag_time_rows.first_seen_row(repository, one.tag, one.digest, one.seen_at, now) for one in sightings]
        await self._database.write_sql(lambda session: FIRST_SEEN.upsert(session, rows))
        return True

    async def created(self, digests: Collection[Digest]) -> Mapping[Digest, datetime | None]:
        """Return when each known one of *digests* was created; None: its config has no credible date."""
        return await self._database.read_sql(lambda session: tag_time_rows.select_created(session, digests))

    async def announce(self, held: Collection[BlobKey] | None) -> Neighbours:
        """Announce this process for 30 seconds, and return the others. With *held*, it shares, and claims them too.

        The others are read after the commit, see `blob_claim_table.announce`.
        """
        now, shares = self._now(), held is not None
        last = self._announced_at
        if last is None or not timedelta() <= now - last < blob_claim_table.RENEW_AFTER or shares != self._shares:
            self._announced_at = None  # If the write fails, what the others see is unknown.
            await self._database.write_sql(lambda session: blob_claim_table.announce(session, self._claimer, now, held))
            self._announced_at, self._shares = now, shares
        others = await self._database.read_sql(
            lambda session: blob_claim_table.other_claimers(session, self._claimer, now)
        )
        if others.ended:
            await self._database.write_sql(lambda session: blob_claim_table.forget(session, others.ended))
        if not others.alive:
            return Neighbours.NONE
        return Neighbours.SHARING if all(others.alive.values()) else Neighbours.SETTLING

    async def claim_blobs(self, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Claim the uploads of *keys* for this process, and return those that another announced process claims."""
        now = self._now()
        return await self._database.write_sql(lambda session: blob_claim_table.claim(session, keys, self._claimer, now))

    async def withdraw(self) -> None:
        """Remove the announcement and all claims of this process."""
        self._announced_at = None
        await self._database.write_sql(lambda session: blob_claim_table.withdraw(session, self._claimer))

    async def write(self, notes: Sequence[CacheRecord], *, tidy: bool) -> None:
        """Write *notes* in one transaction; with *tidy*, remove expired rows afterwards."""
        if notes:
            now = self._now()
            released = [(record.registry, record.digest) for record in notes if isinstance(record, ReleaseRecord)]

            def write(session: SqlSession) -> None:
                write_records(session, notes, now, self._holder)
                blob_claim_table.release(session, released, self._claimer)

            await self._database.write_sql(write)
        if tidy:
            await self.prune()

    async def prune(self, *, most_blobs: int = MOST_BLOBS) -> int:
        """Remove expired rows, and the oldest blob locations beyond *most_blobs*; return their number.

        Rows expire by the trusted time. It works in short transactions, so that another writer waits for one of them
        at most.
        """
        now = (await self._clock.look()).now
        ages = (
            (BLOBS, BLOB_RETENTION),
            (COPIES, self._keep),
            (TRIMMED, self._keep),
            (UPLOADS, self._keep),
            (FACTS, timedelta()),
            (CHECKS, self._keep),
            (CREATED, self._keep),
            (FIRST_SEEN, FIRST_SEEN_RETENTION),
        )
        removed = 0
        for table, keep in ages:
            if now is not None:
                removed += await self._remove(table, before=now - keep)
        for table, most in (
            (BLOBS, most_blobs),
            (FACTS, MOST_FACTS),
            (CHECKS, MOST_ROWS),
            (TAGS, MOST_ROWS),
            (CREATED, MOST_ROWS),
            (FIRST_SEEN, MOST_ROWS),
        ):
            surplus = await self._database.read_sql(table.count) - most
            removed += await self._remove(table, most=surplus) if surplus > 0 else 0
        return removed

    async def _remove(
        self, table: CacheTable, *, before: datetime | None = None, most: int = _PRUNE_BATCH * _MOST_BATCHES
    ) -> int:
        """Remove up to *most* rows of *table*, oldest first, with *before* only those that are older."""
        removed = 0
        for _ in range(_MOST_BATCHES):
            wanted = min(_PRUNE_BATCH, most - removed)
            deleted = await self._database.write_sql(
                lambda session, wanted=wanted: table.delete_oldest(session, wanted, before=before)
            )
            removed += deleted
            if deleted < _PRUNE_BATCH or removed >= most:
                break
        return removed


def _select_holders(session: SqlSession, registry: str, digests: Collection[Digest]) -> dict[Digest, Repository] | None:
    found: dict[Digest, Repository] = {}
    at_registry: Values = {"registry": words(registry)}
    for some in chunks([words(str(digest)) for digest in digests]):
        listed, values = parameters("digest", some)
        rows = session.rows(_SELECT_HOLDERS.format(digests=listed), {**at_registry, **values})
        found |= {Digest.parse(digest): Repository.of(registry, path) for digest, path in rows}
    return found if found or session.rows(_SELECT_REGISTRY, at_registry) else None


def _select_trimmed(session: SqlSession, keys: Collection[FilterKey]) -> dict[FilterKey, Digest]:
    by_filter: dict[PlatformFilter, list[str]] = {}
    for source, platforms in keys:
        by_filter.setdefault(platforms, []).append(words(str(source)))
    found: dict[FilterKey, Digest] = {}
    for platforms, sources in by_filter.items():
        of_filter: Values = {"platforms": filter_text(platforms), "version": platform_filter.VERSION}
        for some in chunks(sources):
            listed, values = parameters("source", some)
            for source, digest in session.rows(_SELECT_TRIMMED.format(sources=listed), {**of_filter, **values}):
                found[Digest.parse(source), platforms] = Digest.parse(digest)
    return found
