"""The persistent cache in the state: blob locations, digests, unfinished uploads, facts about registries.

A `CacheBackend` of `image_syncer.cache.backend`. Rows are hints, so the last writer wins.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    case,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.cache.backend import (
    BlobKey,
    BlobRecord,
    CacheRecord,
    FactRecord,
    FilteredRecord,
    FilterKey,
    Neighbours,
    ReleaseRecord,
    UploadRecord,
)
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, HostFact, UploadCheckpoint
from image_syncer.state import blob_claim_table, host_fact_table
from image_syncer.state.database import Database, chunks
from image_syncer.state.host_fact_table import MOST_FACTS
from image_syncer.state.process_identity import is_gone, this_process
from image_syncer.state.state import open_state
from image_syncer.state.tables import blobs, copies, host_facts, trimmed, uploads
from image_syncer.sync import platform_filter

BLOB_RETENTION: Final = timedelta(days=90)
"""How long a blob location is kept after it was last confirmed."""

MOST_BLOBS: Final = 1_000_000

_CALL_SECONDS: Final = 10.0  # Short, since a run works without the cache.
_ABANDONED_AFTER: Final = timedelta(minutes=1)  # An active upload records each chunk, and a chunk takes less.
_CLOCK_SKEW: Final = timedelta(minutes=1)  # Largest difference between the clocks of processes that share a state.
_PRUNE_BATCH: Final = 500
_MOST_BATCHES: Final = 100  # The next run prunes the rest.
_FILTER_TEXT_LIMIT: Final = 300

RowValues = dict[str, object]


@asynccontextmanager
async def open_cache_backend(url: str, *, keep: timedelta) -> AsyncGenerator["StateCacheBackend"]:
    """Yield the cache in the state at *url*, for one run; raises like `open_state`."""
    async with open_state(url, patience=_CALL_SECONDS) as state:
        yield StateCacheBackend(state.database, keep=keep)


class StateCacheBackend:
    """The cache in *database*. Rows expire *keep* after their last confirmation, blob locations after 90 days.

    *holder* identifies the process that works on uploads (None: this one).
    """

    def __init__(
        self,
        database: Database,
        *,
        keep: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        holder: str | None = None,
    ) -> None:
        self._database = database
        self._keep = keep
        self._now = now
        self._holder = this_process() if holder is None else holder
        self._claimer = self._holder or uuid4().hex
        self._announced_at: datetime | None = None
        self._shares = False

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Return a repository of *registry* for each known digest; None if no blob of the registry is known."""
        return await self._database.read(lambda connection: _select_holders(connection, registry, list(digests)))

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Return the trimmed digest of each known key, for the current version of the trimming rules."""
        return await self._database.read(lambda connection: _select_trimmed(connection, keys))

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return the digest of each tag or digest of *repository* that was confirmed within the last *seconds*."""
        now = self._now()
        recent = copies.c.confirmed_at.between(now - timedelta(seconds=seconds), now + _CLOCK_SKEW)
        wanted = select(copies.c.identifier, copies.c.target_digest).where(
            copies.c.repository == str(repository), recent
        )
        oldest_first = wanted.order_by(copies.c.confirmed_at)
        rows = await self._database.read(lambda connection: connection.execute(oldest_first).all())
        return {row.identifier: Digest.parse(row.target_digest) for row in rows}

    async def take_upload(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Claim and return an abandoned upload for this process; None without one.

        An upload is abandoned if its process has ended, or was not updated for a minute where that cannot be known.
        """
        row = await self._database.read(lambda connection: _select_upload(connection, repository, digest))
        now = self._now()
        if row is None or not self._is_abandoned(row.holder, now - row.updated_at):
            return None
        # Compare and swap: of several processes that read the same row, one claims it.
        unchanged = (
            _is_upload(repository, digest),
            uploads.c.holder == row.holder,
            uploads.c.updated_at == row.updated_at,
        )
        claim = update(uploads).where(*unchanged).values(holder=self._holder, updated_at=now)
        claimed = await self._database.write(lambda connection: connection.execute(claim).rowcount)
        return UploadCheckpoint(row.location, row.offset_bytes) if claimed else None

    def _is_abandoned(self, holder: str, age: timedelta) -> bool:
        return (holder and holder == self._holder) or is_gone(holder) or age > _ABANDONED_AFTER

    async def host_facts(self, host: str) -> Mapping[str, tuple[HostFact, float]]:
        """Return the facts about *host* by key, each with the seconds until it expires."""
        now = self._now()
        return await self._database.read(lambda connection: host_fact_table.select_facts(connection, host, now))

    async def announce(self, held: Collection[BlobKey]) -> Neighbours:
        """Announce this process for 30 seconds, and return the others. If there are any, claim *held* as well.

        Of two processes that announce themselves at once, the one that reads later finds the other.
        """
        now = self._now()
        if self._announced_at is None or not timedelta() <= now - self._announced_at < blob_claim_table.RENEW_AFTER:
            await self._write_announcement(held, now)
        others = await self._database.read(lambda found: blob_claim_table.other_claimers(found, self._claimer, now))
        if bool(others) != self._shares:
            await self._write_announcement(held, now)
        if not others:
            return Neighbours.NONE
        return Neighbours.SHARING if all(others.values()) else Neighbours.SETTLING

    async def _write_announcement(self, held: Collection[BlobKey], now: datetime) -> None:
        announcing = self._database.write(
            lambda connection: blob_claim_table.announce(connection, self._claimer, now, held)
        )
        self._shares = await announcing
        self._announced_at = now

    async def claim_blobs(self, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Claim the uploads of *keys* for this process, and return those that another announced process claims."""
        now = self._now()
        return await self._database.write(
            lambda connection: blob_claim_table.claim(connection, keys, self._claimer, now)
        )

    async def withdraw(self) -> None:
        """Remove the announcement and all claims of this process."""
        await self._database.write(lambda connection: blob_claim_table.withdraw(connection, self._claimer))

    async def write(self, notes: Sequence[CacheRecord], *, tidy: bool) -> None:
        """Write *notes* in one transaction; with *tidy*, remove expired rows afterwards."""
        if notes:
            now = self._now()
            released = [(record.registry, record.digest) for record in notes if isinstance(record, ReleaseRecord)]

            def write(connection: Connection) -> None:
                _write_records(connection, notes, now, self._holder)
                blob_claim_table.release(connection, released, self._claimer)

            await self._database.write(write)
        if tidy:
            await self.prune()

    async def prune(self, *, most_blobs: int = MOST_BLOBS) -> int:
        """Remove expired rows, and the oldest blob locations beyond *most_blobs*; return their number.

        It works in short transactions, so that another writer waits for one of them at most.
        """
        now = self._now()
        ages = (
            (blobs, blobs.c.seen_at, BLOB_RETENTION),
            (copies, copies.c.confirmed_at, self._keep),
            (trimmed, trimmed.c.seen_at, self._keep),
            (uploads, uploads.c.updated_at, self._keep),
            (host_facts, host_facts.c.expires_at, timedelta()),
        )
        removed = 0
        for table, age, keep in ages:
            removed += await self._remove(table, age, before=now - keep)
        bounds = ((blobs, blobs.c.seen_at, most_blobs), (host_facts, host_facts.c.expires_at, MOST_FACTS))
        for table, age, most in bounds:
            surplus = await self._database.read(lambda connection, bound=table: _count(connection, bound)) - most
            removed += await self._remove(table, age, most=surplus) if surplus > 0 else 0
        return removed

    async def _remove(
        self,
        table: Table,
        age: Column[Any],
        *,
        before: datetime | None = None,
        most: int = _PRUNE_BATCH * _MOST_BATCHES,
    ) -> int:
        """Remove up to *most* rows of *table*, oldest first, with *before* only those that are older."""
        key = tuple_(*table.primary_key.columns)
        removed = 0
        for _ in range(_MOST_BATCHES):
            wanted = min(_PRUNE_BATCH, most - removed)
            oldest = select(*table.primary_key.columns).order_by(age).limit(wanted)
            if before is not None:
                oldest = oldest.where(age < before)
            statement = delete(table).where(key.in_(oldest))
            deleted = await self._database.write(lambda connection, bound=statement: connection.execute(bound).rowcount)
            removed += deleted
            if deleted < _PRUNE_BATCH or removed >= most:
                break
        return removed


def _select_holders(
    connection: Connection, registry: str, digests: Sequence[Digest]
) -> dict[Digest, Repository] | None:
    found: dict[Digest, Repository] = {}
    for some in chunks([str(digest) for digest in digests]):
        wanted = select(blobs.c.digest, blobs.c.repository).where(
            blobs.c.registry == registry, blobs.c.digest.in_(some)
        )
        rows = connection.execute(wanted)
        found |= {Digest.parse(row.digest): Repository.of(registry, row.repository) for row in rows}
    if found or connection.execute(select(blobs.c.digest).where(blobs.c.registry == registry).limit(1)).first():
        return found
    return None


def _is_upload(repository: Repository, digest: Digest) -> ColumnElement[bool]:
    return and_(
        uploads.c.registry == repository.registry,
        uploads.c.repository == repository.path,
        uploads.c.digest == str(digest),
    )


def _select_upload(connection: Connection, repository: Repository, digest: Digest) -> Row[Any] | None:
    return connection.execute(select(uploads).where(_is_upload(repository, digest))).one_or_none()


def _select_trimmed(connection: Connection, keys: Collection[FilterKey]) -> dict[FilterKey, Digest]:
    by_filter: dict[PlatformFilter, list[str]] = {}
    for source, platforms in keys:
        by_filter.setdefault(platforms, []).append(str(source))
    found: dict[FilterKey, Digest] = {}
    for platforms, sources in by_filter.items():
        for some in chunks(sources):
            wanted = select(trimmed.c.source_digest, trimmed.c.digest).where(
                trimmed.c.source_digest.in_(some),
                trimmed.c.platforms == _filter_text(platforms),
                trimmed.c.trim_version == platform_filter.VERSION,
            )
            for row in connection.execute(wanted):
                found[Digest.parse(row.source_digest), platforms] = Digest.parse(row.digest)
    return found


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _filter_text(platforms: PlatformFilter) -> str:
    """Return the text that identifies *platforms* in the state; long ones become a digest."""
    text = json.dumps(platforms.to_options(), separators=(",", ":"))
    return text if len(text) <= _FILTER_TEXT_LIMIT else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _write_records(connection: Connection, records: Sequence[CacheRecord], now: datetime, holder: str) -> None:
    """Write *records*, at most one per key, at the time *now*; *holder* is the process that works on the uploads."""
    of_blobs = [record for record in records if isinstance(record, BlobRecord)]
    of_uploads = [record for record in records if isinstance(record, UploadRecord)]
    begun = [(record, record.checkpoint) for record in of_uploads if record.checkpoint]
    _upsert(connection, blobs, [_blob_row(record, now) for record in of_blobs if record.is_held])
    _upsert(connection, copies, [_copy_row(record, now) for record in records if isinstance(record, ConfirmedCopy)])
    _upsert(connection, trimmed, [_trim_row(record, now) for record in records if isinstance(record, FilteredRecord)])
    _upsert(connection, uploads, [_upload_row(record, upload, now, holder) for record, upload in begun])
    _delete(connection, blobs, [_blob_key(record) for record in of_blobs if not record.is_held])
    facts = [record for record in records if isinstance(record, FactRecord)]
    kept = [record for record in facts if record.value is not None]
    _upsert(connection, host_facts, [host_fact_table.fact_row(record, now) for record in kept])
    host_fact_table.delete_forgotten(connection, facts)
    _delete(connection, uploads, [_upload_key(record) for record in of_uploads if not record.checkpoint])


def _delete(connection: Connection, table: Table, rows: Sequence[RowValues]) -> None:
    for row in _sorted_by_key(table, rows):
        connection.execute(delete(table).where(and_(*(table.c[name] == value for name, value in row.items()))))


def _sorted_by_key(table: Table, rows: Sequence[RowValues]) -> list[RowValues]:
    """Return *rows* in the order of their keys: processes that lock the same rows in different orders deadlock."""
    keys = table.primary_key.columns.keys()
    return sorted(rows, key=lambda row: [str(row[key]) for key in keys])


def _upsert(connection: Connection, table: Table, rows: Sequence[RowValues]) -> None:
    """Insert *rows*, replacing those with the same keys."""
    if not rows:
        return
    statement = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = table.primary_key.columns.keys()
    changed: dict[str, Any] = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if table is copies:
        changed |= {"written_at": _written_at(statement.excluded), "first_seen_at": copies.c.first_seen_at}
    for some in chunks(_sorted_by_key(table, rows)):
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), some)


def _written_at(new: Any) -> Any:
    """Return when we wrote the target's digest: now, the recorded time if the digest is the same, NULL otherwise."""
    same = copies.c.target_digest == new["target_digest"]
    return case((new["written_at"].is_not(None), new["written_at"]), (same, copies.c.written_at))


def _blob_key(record: BlobRecord) -> RowValues:
    # The repository is part of it, so that a location in another repository stays.
    repository = record.repository
    return {"registry": repository.registry, "digest": str(record.digest), "repository": repository.path}


def _blob_row(record: BlobRecord, now: datetime) -> RowValues:
    return _blob_key(record) | {"size_bytes": record.size_bytes, "seen_at": now}


def _copy_row(copy: ConfirmedCopy, now: datetime) -> RowValues:
    return {
        "rule": copy.rule,
        "repository": str(copy.target.repository),
        "identifier": copy.target.identifier,
        "source": str(copy.source),
        "source_digest": str(copy.source_digest),
        "platforms": _filter_text(copy.platforms),
        "target_digest": str(copy.target_digest),
        "confirmed_at": now,
        "written_at": now if copy.written else None,
        "first_seen_at": now,
    }


def _trim_row(record: FilteredRecord, now: datetime) -> RowValues:
    return {
        "source_digest": str(record.source),
        "platforms": _filter_text(record.platforms),
        "digest": str(record.filtered),
        "trim_version": platform_filter.VERSION,
        "seen_at": now,
    }


def _upload_key(record: UploadRecord) -> RowValues:
    repository = record.repository
    return {"registry": repository.registry, "repository": repository.path, "digest": str(record.digest)}


def _upload_row(record: UploadRecord, upload: UploadCheckpoint, now: datetime, holder: str) -> RowValues:
    values = {"location": upload.location, "offset_bytes": upload.offset_bytes, "updated_at": now, "holder": holder}
    return _upload_key(record) | values
