"""Events, from the answer to the sender until their copies are done.

`record` is the promise: once it returns, its events are committed rows with the status `received`. A dispatcher then
handles batches:

    claim -> match against the rules -> assign -> create the jobs -> mark_dispatched (or mark_unmatched)

It may be killed between any two steps: the event is still `received`, and every step can be repeated once the claim has
expired. A claim is a lease, so one dispatcher of a fleet handles an event, and its death only delays it. Rows are
selected by status, never by "greater than the last identifier", since PostgreSQL commits identifiers out of order.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.state.database import Database, page_size
from image_syncer.state.event import CopyEnd, Event, EventCopy, EventCounts, EventFilter, EventStatus, NewEvent
from image_syncer.state.event_tally import tally
from image_syncer.state.sql_session import chunks
from image_syncer.state.tables import event_copies, events

REPETITION_WINDOW: Final = timedelta(days=1)
"""How long a repeated delivery counts as the same event. Senders give up within hours."""

RECORD_LIMIT: Final = 10_000
"""The most events of one call. The bound of a request body is lower."""

CLAIM_SECONDS: Final = 10.0
"""The lease of a claim. If the clocks of a fleet differ by more, events are handled twice."""

CLOCK_SKEW: Final = timedelta(minutes=1)
"""The clocks of processes that share a state differ by less. A later time was written while a clock was wrong."""

_PRUNE_BATCH: Final = 1000
_FAILED: Final = "failed"  # the outcome of a copy that is not retried


class EventLog:
    """The events in the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, arrived: Sequence[NewEvent], *, now: datetime) -> list[int]:
        """Return the identifiers of *arrived*, in their order, once all of them are committed.

        Either all of them are committed or none. A repeated delivery of the last day keeps its first identifier. If it
        matched no rule then, or one of its copies has failed for good, it is pending again: an operator redelivers an
        event after changing the rules or removing the cause of the failure.
        """
        if len(arrived) > RECORD_LIMIT:
            raise ValueError(f"at most {RECORD_LIMIT} events at once, not {len(arrived)}")
        if not arrived:
            return []
        return await self._database.write(lambda connection: _record(connection, arrived, now), shares=True)

    async def claim(
        self, limit: int = 100, *, now: datetime, seconds: float = CLAIM_SECONDS, newest: bool = False
    ) -> list[Event]:
        """Claim and return up to *limit* pending events for *seconds* from *now*: the oldest, or the *newest*.

        Other dispatchers skip them meanwhile. Events that are still pending afterwards can be claimed again.
        """
        size = page_size(limit)
        return await self._database.write(
            lambda connection: _claim(connection, size, now, timedelta(seconds=seconds), newest=newest)
        )

    async def release_claims(self) -> int:
        """Release all claims and return their number.

        Only for the start of a single dispatcher, which then need not wait for the leases of its predecessor.
        """
        claimed = events.c.status == EventStatus.RECEIVED, events.c.claimed_until.is_not(None)
        statement = update(events).where(*claimed).values(claimed_until=None)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def list_pending(self, limit: int = 100, *, after: int = 0) -> list[Event]:
        """Return up to *limit* pending events, claimed or not, oldest first, after the identifier *after*."""
        wanted = (
            select(events)
            .where(events.c.status == EventStatus.RECEIVED, events.c.id > after)
            .order_by(events.c.id)
            .limit(page_size(limit))
        )
        return await self._database.read(lambda connection: [_event(row) for row in _rows(connection, wanted)])

    async def count_pending(self) -> int:
        """Return the number of pending events."""
        counted = select(func.count()).select_from(events).where(events.c.status == EventStatus.RECEIVED)
        return await self._database.read(lambda connection: connection.execute(counted).scalar_one())

    async def count_by_status(self) -> EventCounts:
        """Return the number of events by source and status, and the time of the oldest pending one."""
        return await self._database.read(tally)

    async def assign(self, copies: Mapping[int, Sequence[tuple[str, str]]]) -> None:
        """Record the (source, target) copies of each pending event, before their jobs are created.

        So a job that ends before the dispatcher goes on still finds its event. The copies of an earlier attempt are
        replaced, since the rules may have changed.
        """
        await self._database.write(lambda connection: _assign(connection, copies))

    async def mark_dispatched(self, ids: Sequence[int], *, now: datetime) -> int:
        """Record that the jobs of these events exist; return how many of them were pending."""
        return await self._decide(ids, EventStatus.DISPATCHED, now)

    async def mark_unmatched(self, ids: Sequence[int], *, now: datetime) -> int:
        """Record that no rule matches these events; return how many of them were pending."""
        return await self._decide(ids, EventStatus.UNMATCHED, now)

    async def settle(self, end: CopyEnd) -> int:
        """Record the outcome for every event that *end* covers; return their number.

        A copy covers the events that were received before it began, since it read an image at least as new.
        """
        return await self._database.write(lambda connection: settle_copies(connection, end))

    async def list_unsettled(
        self, *, decided_before: datetime, now: datetime, limit: int = 500
    ) -> list[tuple[str, str]]:
        """Return *limit* open copies of events decided before *decided_before* or, by a wrong clock, after *now*."""
        wanted = (
            select(event_copies.c.source, event_copies.c.target)
            .join(events, events.c.id == event_copies.c.event_id)
            .where(
                event_copies.c.outcome.is_(None),
                events.c.status == EventStatus.DISPATCHED,
                or_(events.c.decided_at < decided_before, events.c.decided_at > now + CLOCK_SKEW),
            )
            .order_by(events.c.id)
            .limit(page_size(limit))
        )
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return list(dict.fromkeys((row.source, row.target) for row in rows))

    async def filter_announced(self, tags: Collection[tuple[str, str]], *, since: datetime) -> set[tuple[str, str]]:
        """Return the (repository, tag) pairs that an event named since *since*; with working hooks these are all."""
        return await self._database.read(lambda connection: _announced(connection, tags, since))

    async def get(self, event: int) -> Event | None:
        """Return the event with its copies; None if it does not exist or was pruned."""
        wanted = select(events).where(events.c.id == event)
        found = await self._database.read(lambda connection: _with_copies(connection, _rows(connection, wanted)))
        return found[0] if found else None

    async def page(
        self, wanted: EventFilter | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[Event]:
        """Return up to *limit* events with their copies, newest first; *before* is the last page's last identifier."""
        statement = _matching(wanted or EventFilter()).order_by(events.c.id.desc()).limit(page_size(limit))
        if before is not None:
            statement = statement.where(events.c.id < before)
        return await self._database.read(lambda connection: _with_copies(connection, _rows(connection, statement)))

    async def prune(self, *, older_than: datetime, now: datetime) -> int:
        """Remove decided events that were received before *older_than*, and return their number.

        Pending events and those that a sender may redeliver stay.
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
    # In the order of the keys: two processes that record the same deliveries lock rows in the same order.
    by_key = {key: event for key, event in zip(keys, arrived, strict=True) if key is not None}
    repeatable = {key: by_key[key] for key in sorted(by_key)}
    ids = _upsert(connection, repeatable, now)
    _count_repetitions(connection, Counter(key for key in keys if key is not None))
    unrepeatable = [event for key, event in zip(keys, arrived, strict=True) if key is None]
    new_ids = iter(_insert(connection, unrepeatable, now))
    return [next(new_ids) if key is None else ids[key] for key in keys]


def _upsert(connection: Connection, by_key: Mapping[str, NewEvent], now: datetime) -> dict[str, int]:
    """Insert the events, or count a repetition for those that exist; return the identifiers by key."""
    statement = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(events)
    is_pending_again = or_(events.c.status == EventStatus.UNMATCHED, _has_failed_copy())
    repeated = {
        "repetitions": events.c.repetitions + 1,
        "status": case((is_pending_again, EventStatus.RECEIVED), else_=events.c.status),
        "received_at": case((is_pending_again, statement.excluded.received_at), else_=events.c.received_at),
    }
    upsert = statement.on_conflict_do_update(index_elements=[events.c.repetition_key], set_=repeated)
    ids: dict[str, int] = {}
    for some in chunks(list(by_key)):
        # After the window the key is cleared, so that the same delivery is a new event.
        connection.execute(
            update(events)
            .where(events.c.repetition_key.in_(some), events.c.received_at < now - REPETITION_WINDOW)
            .values(repetition_key=None)
        )
        rows = connection.execute(
            upsert.returning(events.c.id, events.c.repetition_key), [_row(by_key[key], key, now) for key in some]
        )
        ids.update((row.repetition_key, row.id) for row in rows)
    return ids


def _count_repetitions(connection: Connection, times: Mapping[str, int]) -> None:
    """Count events that one message holds several times."""
    for key, count in sorted(times.items()):
        if count > 1:
            more = {"repetitions": events.c.repetitions + count - 1}
            connection.execute(update(events).where(events.c.repetition_key == key).values(more))


def _insert(connection: Connection, arrived: Sequence[NewEvent], now: datetime) -> list[int]:
    """Insert events without a delivery identifier, and return their identifiers in the same order."""
    ids: list[int] = []
    ordered = insert(events).returning(events.c.id, sort_by_parameter_order=True)
    for some in chunks(arrived):
        ids += connection.execute(ordered, [_row(event, None, now) for event in some]).scalars()
    return ids


def _row(event: NewEvent, key: str | None, now: datetime) -> dict[str, object]:
    return {
        "source": event.source,
        "delivery": event.delivery,
        "repetition_key": key,
        "repetitions": 0,
        "repository": event.repository,
        "tag": event.tag,
        "digest": event.digest,
        "received_at": now,
        "status": EventStatus.RECEIVED,
    }


def _has_failed_copy() -> ColumnElement[bool]:
    """Whether a copy of the event has failed for good: then a redelivery requests it again."""
    failed = event_copies.c.outcome == _FAILED
    return select(event_copies.c.event_id).where(event_copies.c.event_id == events.c.id, failed).exists()


def _repetition_key(event: NewEvent) -> str | None:
    """Return the key that repeated deliveries of an event share, None without a delivery identifier.

    It includes tag and digest, since a delivery may hold several pushes, and a sender may reuse its identifier.
    """
    if event.delivery is None:
        return None
    parts = [event.source, event.delivery, event.repository, event.tag, *filter(None, [event.digest])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _claim(connection: Connection, limit: int, now: datetime, length: timedelta, *, newest: bool) -> list[Event]:
    expired = events.c.claimed_until <= now
    wrong = events.c.claimed_until > now + 2 * length  # A lease that was given while a clock was wrong.
    unclaimed = or_(events.c.claimed_until.is_(None), expired, wrong)
    # SKIP LOCKED passes over rows that another dispatcher is claiming; SQLite has one writer at a time. The WITH clause
    # is evaluated once, while PostgreSQL may evaluate a subquery for each row and exceed the limit.
    free = (
        select(events.c.id)
        .where(events.c.status == EventStatus.RECEIVED, unclaimed)
        .order_by(events.c.id.desc() if newest else events.c.id)
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
    """Record the outcome for every event that *end* covers; return their number."""
    # An event that is later than the end of the copy was received while a clock was wrong.
    before = or_(events.c.received_at <= end.began_at, events.c.received_at > end.finished_at + CLOCK_SKEW)
    covered = select(events.c.id).where(events.c.id == event_copies.c.event_id, before)
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
