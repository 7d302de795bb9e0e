"""What runs tell each other, in the state: where blobs are, what targets named, what filters leave, open uploads.

An `Archive` of `image_syncer.cache.backend`. Rows are only hints, so of two processes the last one wins.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, and_, delete, func, select, tuple_, update

from image_syncer.cache.backend import CacheRecord, FilterKey
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import UploadCheckpoint
from image_syncer.state.database import Database
from image_syncer.state.note_rows import filter_text, write_notes
from image_syncer.state.pages import chunks
from image_syncer.state.process_identity import is_gone, this_process
from image_syncer.state.state import open_state
from image_syncer.state.tables import blobs, copies, trimmed, uploads
from image_syncer.sync import platform_filter

KEEP_BLOBS: Final = timedelta(days=90)
"""How long a blob is believed to be where nobody has seen it since."""

MOST_BLOBS: Final = 1_000_000

_PATIENCE_SECONDS: Final = 10.0  # A run waits no longer for what it can do without.
_QUIET: Final = timedelta(minutes=1)  # Chunks take less, so who works on an upload has written of it since.
_SKEW: Final = timedelta(minutes=1)  # The clocks of those who share a state differ by less.
_STEP: Final = 500
_MOST_STEPS: Final = 100  # The rest goes next time.


@asynccontextmanager
async def open_archive(url: str, *, keep: timedelta) -> AsyncGenerator["StateCacheBackend"]:
    """Yield the archive in the state at *url*, for one run; raises as `open_state` does."""
    async with open_state(url, patience=_PATIENCE_SECONDS) as state:
        yield StateCacheBackend(state.database, keep=keep)


class StateCacheBackend:
    """The archive in *database*. What nobody confirmed for *keep* is forgotten, blobs after 90 days.

    *holder* is who works on uploads; None: this process.
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

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Return a repository of *registry* for each of *digests* that is known; None where none of its blobs is."""
        return await self._database.read(lambda connection: _holders(connection, registry, list(digests)))

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Return what is left of each of *keys* of which that is known, by the rules of today."""
        return await self._database.read(lambda connection: _trimmed(connection, keys))

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return by tag or digest what *repository* named, confirmed within the last *seconds*."""
        now = self._now()
        within = copies.c.confirmed_at.between(now - timedelta(seconds=seconds), now + _SKEW)
        wanted = select(copies.c.identifier, copies.c.target_digest).where(
            copies.c.repository == str(repository), within
        )
        latest_last = wanted.order_by(copies.c.confirmed_at)
        rows = await self._database.read(lambda connection: connection.execute(latest_last).all())
        return {row.identifier: Digest.parse(row.target_digest) for row in rows}

    async def take_upload(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Return the upload that was begun and that nobody works on, which is this process's then; None without one.

        Somebody does who still lives, or who has written of it within the last minute where nobody can tell.
        """
        row = await self._database.read(lambda connection: _upload(connection, repository, digest))
        now = self._now()
        if row is None or not self._is_free(row.holder, now - row.updated_at):
            return None
        same = _is_upload(repository, digest), uploads.c.holder == row.holder, uploads.c.updated_at == row.updated_at
        taking = update(uploads).where(*same).values(holder=self._holder, updated_at=now)
        taken = await self._database.write(lambda connection: connection.execute(taking).rowcount)
        return UploadCheckpoint(row.location, row.offset_bytes) if taken else None

    def _is_free(self, holder: str, age: timedelta) -> bool:
        return (holder and holder == self._holder) or is_gone(holder) or age > _QUIET

    async def write(self, notes: Sequence[CacheRecord], *, tidy: bool) -> None:
        """Keep *notes* in one transaction. With *tidy*, forget what is old afterwards, in short steps."""
        if notes:
            now = self._now()
            await self._database.write(lambda connection: write_notes(connection, notes, now, self._holder))
        if tidy:
            await self.prune()

    async def prune(self, *, most_blobs: int = MOST_BLOBS) -> int:
        """Remove what is old, and blobs beyond *most_blobs*, the oldest first; return how many rows.

        Whoever else writes waits for one step at most.
        """
        now = self._now()
        ages = (
            (blobs, blobs.c.seen_at, KEEP_BLOBS),
            (copies, copies.c.confirmed_at, self._keep),
            (trimmed, trimmed.c.seen_at, self._keep),
            (uploads, uploads.c.updated_at, self._keep),
        )
        removed = 0
        for table, age, keep in ages:
            removed += await self._remove(table, age, before=now - keep)
        surplus = await self._database.read(lambda connection: _count(connection, blobs)) - most_blobs
        return removed + (await self._remove(blobs, blobs.c.seen_at, most=surplus) if surplus > 0 else 0)

    async def _remove(
        self, table: Table, age: Column[Any], *, before: datetime | None = None, most: int = _STEP * _MOST_STEPS
    ) -> int:
        """Remove up to *most* rows of *table*, the oldest first; with *before*, only those from before that."""
        key = tuple_(*table.primary_key.columns)
        removed = 0
        for _ in range(_MOST_STEPS):
            wanted = min(_STEP, most - removed)
            oldest = select(*table.primary_key.columns).order_by(age).limit(wanted)
            if before is not None:
                oldest = oldest.where(age < before)
            statement = delete(table).where(key.in_(oldest))
            gone = await self._database.write(lambda connection, doing=statement: connection.execute(doing).rowcount)
            removed += gone
            if gone < _STEP or removed >= most:
                break
        return removed


def _holders(connection: Connection, registry: str, digests: Sequence[Digest]) -> dict[Digest, Repository] | None:
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


def _upload(connection: Connection, repository: Repository, digest: Digest) -> Row[Any] | None:
    return connection.execute(select(uploads).where(_is_upload(repository, digest))).one_or_none()


def _trimmed(connection: Connection, keys: Collection[FilterKey]) -> dict[FilterKey, Digest]:
    by_filter: dict[PlatformFilter, list[str]] = {}
    for source, platforms in keys:
        by_filter.setdefault(platforms, []).append(str(source))
    found: dict[FilterKey, Digest] = {}
    for platforms, sources in by_filter.items():
        for some in chunks(sources):
            wanted = select(trimmed.c.source_digest, trimmed.c.digest).where(
                trimmed.c.source_digest.in_(some),
                trimmed.c.platforms == filter_text(platforms),
                trimmed.c.trim_version == platform_filter.VERSION,
            )
            for row in connection.execute(wanted):
                found[Digest.parse(row.source_digest), platforms] = Digest.parse(row.digest)
    return found


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
