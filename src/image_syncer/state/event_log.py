"""Events: what we were told, kept from the answer to the sender until its copies are done.

The promise is `record`: what it returned for is a committed row with the status `received`, whatever is killed. A
dispatcher then goes, for as many events as it likes at once:

    claim -> match against the rules -> assign -> create the jobs -> mark_dispatched (or mark_unmatched)

It may be stopped between any two of these: the event is still `received`, and once the claim has ended all of it may be
done again. So of a whole fleet one dispatcher works on an event, and the death of that one only delays it. Rows are
found by their status, never by "greater than the last identifier": PostgreSQL commits identifiers out of order.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.state.database import Database, chunks, page_size
from image_syncer.state.event import CopyEnd, Event, EventCopy, EventCounts, EventFilter, EventStatus, NewEvent
from image_syncer.state.tables import event_copies, events

REPETITION_WINDOW: Final = timedelta(days=1)
"""How long a delivery that comes again counts as the same one. Senders give up within hours."""

RECORD_LIMIT: Final = 10_000
"""The most events that one call records: a request body has its own, lower bound."""

CLAIM_SECONDS: Final = 10.0
"""How long a dispatcher has for what it claimed. Clocks of a fleet may differ by less; beyond it work is done twice."""

_PRUNE_BATCH: Final = 1000
_GROUP_LIMIT: Final = 1000


class EventLog:
    """The events in the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, arrived: Sequence[NewEvent], *, now: datetime) -> list[int]:
        """Return the identifiers of *arrived*, in their order, once all of them are committed.

        A delivery that came within the last day already gets the identifier that it got then. If no rule wanted it
        it waits again: whoever delivers by hand what found no rule has mended the rules.
        """
        if len(arrived) > RECORD_LIMIT:
            raise ValueError(f"at most {RECORD_LIMIT} events at once, not {len(arrived)}")
        if not arrived:
            return []
        return await self._database.write(lambda connection: _record(connection, arrived, now), shares=True)

    async def claim(self, limit: int = 100, *, now: datetime, seconds: float = CLAIM_SECONDS) -> list[Event]:
        """Return up to *limit* events that wait, oldest first, as the caller's own for *seconds* from *now*.

        Nobody else gets them meanwhile. What is not decided by then is given to whoever claims next.
        """
        size = page_size(limit)
        return await self._database.write(lambda connection: _claim(connection, size, now, timedelta(seconds=seconds)))

    async def release_claims(self) -> int:
        """Make every event that waits free to be claimed at once, and return how many were not.

        For the start of the only dispatcher there is: what an earlier one had claimed need not be waited for.
        """
        claimed = events.c.status == EventStatus.RECEIVED, events.c.claimed_until.is_not(None)
        statement = update(events).where(*claimed).values(claimed_until=None)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def list_pending(self, limit: int = 100, *, after: int = 0) -> list[Event]:
        """Return up to *limit* events that wait, claimed or not, oldest first, beyond the identifier *after*."""
        wanted = (
            select(events)
            .where(events.c.status == EventStatus.RECEIVED, events.c.id > after)
            .order_by(events.c.id)
            .limit(page_size(limit))
        )
        return await self._database.read(lambda connection: [_event(row) for row in _rows(connection, wanted)])

    async def count_pending(self) -> int:
        """Return how many events wait for the dispatcher."""
        counted = select(func.count()).select_from(events).where(events.c.status == EventStatus.RECEIVED)
        return await self._database.read(lambda connection: connection.execute(counted).scalar_one())

    async def count_by_status(self) -> EventCounts:
        """Return how many events there are of which source and status, and since when the oldest waits."""
        return await self._database.read(_tally)

    async def assign(self, copies: Mapping[int, Sequence[tuple[str, str]]]) -> None:
        """Note which (source, target) copies each waiting event leads to, before their jobs are created.

        So the end of a job that is faster than the dispatcher still finds its event. What an earlier attempt noted
        is replaced: the rules may have changed since.
        """
        await self._database.write(lambda connection: _assign(connection, copies))

    async def mark_dispatched(self, ids: Sequence[int], *, now: datetime) -> int:
        """Say that the jobs of these events exist; return how many of them were waiting until now."""
        return await self._decide(ids, EventStatus.DISPATCHED, now)

    async def mark_unmatched(self, ids: Sequence[int], *, now: datetime) -> int:
        """Say that no rule wants these events; return how many of them were waiting until now."""
        return await self._decide(ids, EventStatus.UNMATCHED, now)

    async def settle(self, end: CopyEnd) -> int:
        """Give every event that *end* covers its outcome; return how many there were.

        A copy covers the events that were received before it began: what it read is at least as new as their push.
        """
        return await self._database.write(lambda connection: settle_copies(connection, end))

    async def list_unsettled(self, *, decided_before: datetime, limit: int = 500) -> list[tuple[str, str]]:
        """Return up to *limit* (source, target) copies without an outcome that old events led to, the oldest first."""
        wanted = (
            select(event_copies.c.source, event_copies.c.target)
            .join(events, events.c.id == event_copies.c.event_id)
            .where(
                event_copies.c.outcome.is_(None),
                events.c.status == EventStatus.DISPATCHED,
                events.c.decided_at < decided_before,
            )
            .order_by(events.c.id)
            .limit(page_size(limit))
        )
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return list(dict.fromkeys((row.source, row.target) for row in rows))

    async def filter_announced(self, tags: Collection[tuple[str, str]], *, since: datetime) -> set[tuple[str, str]]:
        """Return those of the (repository, tag) pairs that an event named since then: hooks that work miss none."""
        return await self._database.read(lambda connection: _announced(connection, tags, since))

    async def get(self, event: int) -> Event | None:
        """Return the event with its copies, None where there is none (any more)."""
        wanted = select(events).where(events.c.id == event)
        found = await self._database.read(lambda connection: _with_copies(connection, _rows(connection, wanted)))
        return found[0] if found else None

    async def page(
        self, wanted: EventFilter | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[Event]:
        """Return up to *limit* events, newest first, with their copies; *before* is the last page's last identifier."""
        statement = _matching(wanted or EventFilter()).order_by(events.c.id.desc()).limit(page_size(limit))
        if before is not None:
            statement = statement.where(events.c.id < before)
        return await self._database.read(lambda connection: _with_copies(connection, _rows(connection, statement)))

    async def prune(self, *, older_than: datetime, now: datetime) -> int:
        """Remove decided events that were received before *older_than*, and return how many.

        What still waits stays, and so does what a sender may deliver again.
        """
        until = min(older_than, now - REPETITION_WINDOW)
        removed = 0
        while batch := await self._database.write(lambda connection: _prune(connection, until)):
            removed += batch
        return removed

    async def _decide(self, ids: Sequence[int], status: EventStatus, now: datetime) -> int:
        def decide(connection: Connection) -> int:
            return sum(
                connection.execute(
                    update(events)
                    .where(events.c.id.in_(some), events.c.status == EventStatus.RECEIVED)
                    .values(status=status, decided_at=now, claimed_until=None)
                ).rowcount
                for some in chunks(sorted(set(ids)))
            )

        return await self._database.write(decide)


def _record(connection: Connection, arrived: Sequence[NewEvent], now: datetime) -> list[int]:
    keys = [_repetition_key(event) for event in arrived]
    for some in chunks(sorted(key for key in set(keys) if key is not None)):
        # Beyond the window the key is given free: the same delivery is a new event then.
        connection.execute(
            update(events)
            .where(events.c.repetition_key.in_(some), events.c.received_at < now - REPETITION_WINDOW)
            .values(repetition_key=None)
        )
    ids = [0] * len(arrived)
    # Two processes that record the same deliveries take their locks in the same order.
    for place in sorted(range(len(arrived)), key=lambda place: keys[place] or ""):
        ids[place] = _insert(connection, arrived[place], keys[place], now)
    return ids


def _insert(connection: Connection, event: NewEvent, key: str | None, now: datetime) -> int:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(events).values(
        source=event.source,
        delivery=event.delivery,
        repetition_key=key,
        repetitions=0,
        repository=event.repository,
        tag=event.tag,
        digest=event.digest,
        received_at=now,
        status=EventStatus.RECEIVED,
    )
    status = case((events.c.status == EventStatus.UNMATCHED, EventStatus.RECEIVED), else_=events.c.status)
    repeated = {"repetitions": events.c.repetitions + 1, "status": status}
    return connection.execute(
        statement.on_conflict_do_update(index_elements=[events.c.repetition_key], set_=repeated).returning(events.c.id)
    ).scalar_one()


def _repetition_key(event: NewEvent) -> str | None:
    """Return what two deliveries of one event have in common; one delivery may tell of several tags."""
    if event.delivery is None:
        return None
    parts = json.dumps([event.source, event.delivery, event.repository, event.tag])
    return hashlib.sha256(parts.encode()).hexdigest()


def _claim(connection: Connection, limit: int, now: datetime, length: timedelta) -> list[Event]:
    unclaimed = or_(events.c.claimed_until.is_(None), events.c.claimed_until <= now)
    # What another dispatcher is claiming now is passed over; on SQLite only one of them writes anyway. As a WITH it is
    # read once: a subquery PostgreSQL may read again for each row, and it would then find more than the limit.
    free = (
        select(events.c.id)
        .where(events.c.status == EventStatus.RECEIVED, unclaimed)
        .order_by(events.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    statement = (
        update(events)
        .where(events.c.id.in_(select(free.c.id)))
        .values(claimed_until=now + length)
        .returning(*events.columns)
    )
    return sorted((_event(row) for row in connection.execute(statement)), key=lambda event: event.id)


def _assign(connection: Connection, copies: Mapping[int, Sequence[tuple[str, str]]]) -> None:
    waiting: set[int] = set()
    for some in chunks(sorted(copies)):
        of_these = select(events.c.id).where(events.c.id.in_(some), events.c.status == EventStatus.RECEIVED)
        waiting.update(connection.execute(of_these.with_for_update()).scalars())
        connection.execute(delete(event_copies).where(event_copies.c.event_id.in_(sorted(waiting & set(some)))))
    rows = [
        {"event_id": event, "source": source, "target": target}
        for event in sorted(waiting)
        for source, target in dict.fromkeys(copies[event])
    ]
    if rows:
        connection.execute(event_copies.insert(), rows)


def settle_copies(connection: Connection, end: CopyEnd) -> int:
    """Give every event that *end* covers its outcome; return how many there were."""
    covered = select(events.c.id).where(events.c.id == event_copies.c.event_id, events.c.received_at <= end.began_at)
    return connection.execute(
        update(event_copies)
        .where(
            event_copies.c.source == end.source,
            event_copies.c.target == end.target,
            event_copies.c.outcome.is_(None),
            covered.exists(),
        )
        .values(outcome=end.outcome, reason=end.reason, finished_at=end.finished_at)
    ).rowcount


def _announced(connection: Connection, tags: Collection[tuple[str, str]], since: datetime) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for some in chunks(sorted({repository for repository, _ in tags})):
        named = select(events.c.repository, events.c.tag).distinct()
        known = named.where(events.c.repository.in_(some), events.c.received_at >= since)
        found.update((row.repository, row.tag) for row in connection.execute(known))
    return found.intersection(tags)


def _tally(connection: Connection) -> EventCounts:
    groups = select(events.c.source, events.c.status, func.count()).group_by(events.c.source, events.c.status)
    oldest = select(func.min(events.c.received_at)).where(events.c.status == EventStatus.RECEIVED)
    counts = {
        (source, EventStatus(status)): count for source, status, count in connection.execute(groups.limit(_GROUP_LIMIT))
    }
    return EventCounts(counts, connection.execute(oldest).scalar_one())


def _prune(connection: Connection, until: datetime) -> int:
    old = (
        select(events.c.id)
        .where(events.c.received_at < until, events.c.status != EventStatus.RECEIVED)
        .order_by(events.c.id)
        .limit(_PRUNE_BATCH)
    )
    return connection.execute(delete(events).where(events.c.id.in_(old))).rowcount


def _matching(wanted: EventFilter) -> Select[Any]:
    statement = select(events)
    for column, value in (
        (events.c.status, wanted.status),
        (events.c.source, wanted.source),
        (events.c.repository, wanted.repository),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return statement if wanted.since is None else statement.where(events.c.received_at >= wanted.since)


def _rows(connection: Connection, wanted: Select[Any]) -> Sequence[Row[Any]]:
    return connection.execute(wanted).all()


def _with_copies(connection: Connection, rows: Sequence[Row[Any]]) -> list[Event]:
    copies: dict[int, list[EventCopy]] = {row.id: [] for row in rows}
    for some in chunks(sorted(copies)):
        of_these = select(event_copies).where(event_copies.c.event_id.in_(some))
        for row in connection.execute(of_these.order_by(event_copies.c.source, event_copies.c.target)):
            copies[row.event_id].append(EventCopy(row.source, row.target, row.outcome, row.reason, row.finished_at))
    return [_event(row, tuple(copies[row.id])) for row in rows]


def _event(row: Row[Any], copies: tuple[EventCopy, ...] = ()) -> Event:
    return Event(
        id=row.id,
        source=row.source,
        repository=row.repository,
        tag=row.tag,
        digest=row.digest,
        delivery=row.delivery,
        received_at=row.received_at,
        status=EventStatus(row.status),
        decided_at=row.decided_at,
        repetitions=row.repetitions,
        copies=copies,
    )
