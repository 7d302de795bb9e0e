"""PostgreSQL: the counts of events are right and read some dozen rows, also of a million events."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy import Connection, Engine, event

from image_syncer.state import EventStatus, NewEvent, State, open_state
from support.postgres import Postgres
from support.stores import migrate_state

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BY_ROWS = b"SELECT source, status, count(*) FROM image_syncer_events GROUP BY source, status"
BY_DELTAS = b"SELECT source, status, sum(change)::bigint FROM image_syncer_event_deltas GROUP BY source, status"
DELTAS = b"SELECT count(*) FROM image_syncer_event_deltas"
FILL = b"""
INSERT INTO image_syncer_events (source, repetitions, repository, tag, received_at, status)
SELECT 'hook' || n % 4, 0, 'harbor.test/app', n::text, n, CASE WHEN n % 100 = 0 THEN 'unmatched' ELSE 'dispatched' END
FROM generate_series(1, 20000) n
"""
BACK_TO_0013 = (
    b"DROP FUNCTION image_syncer_count_events_v1() CASCADE",
    b"DROP TABLE image_syncer_event_deltas, image_syncer_clock_looks",
    b"UPDATE image_syncer_version SET version_num = '0013'",
)
MOST_DELTAS = 200  # 64 between two sums, the sums, and what concurrent transactions held


def assert_counted(url: str) -> Counter[tuple[str, str]]:
    """Check that the triggers counted each event, and return the numbers by source and status."""
    with psycopg.connect(url) as connection:
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows, deltas = (
            Counter({(source, status): count for source, status, count in connection.execute(query) if count})
            for query in (BY_ROWS, BY_DELTAS)
        )
    assert deltas == rows
    return rows


def change(url: str, *statements: bytes) -> None:
    """Execute *statements*, each as its own transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def number_of_deltas(url: str) -> int:
    """Return the number of rows that a count reads."""
    with psycopg.connect(url) as connection:
        row = connection.execute(DELTAS).fetchone()
    assert row is not None
    return int(row[0])


def arriving(hook: str, tags: range) -> list[NewEvent]:
    """Return events of *hook*, each with its own delivery."""
    return [NewEvent(hook, "harbor.test/app", str(tag), None, f"delivery {tag}") for tag in tags]


async def test_the_counts_follow_every_change(postgres: Postgres) -> None:
    """Repetitions, decisions, events that are pending again, and the removal of old ones."""
    url = postgres.new_database(postgres.template(migrate_state))
    async with open_state(url) as state:
        ids = await state.events.record(arriving("harbor", range(10)), now=NOW)
        await state.events.record(arriving("harbor", range(12)), now=NOW)
        assert assert_counted(url) == {("harbor", "received"): 12}
        await state.events.mark_dispatched(ids[:4], now=NOW)
        await state.events.mark_unmatched(ids[4:6], now=NOW)
        await state.events.record(arriving("harbor", range(4, 5)), now=NOW)
        expected = {("harbor", "received"): 7, ("harbor", "dispatched"): 4, ("harbor", "unmatched"): 1}
        assert assert_counted(url) == expected
        counts = (await state.events.count_by_status()).counts
        assert counts == {(source, EventStatus(status)): count for (source, status), count in expected.items()}
        later = NOW + timedelta(days=40)
        assert await state.events.prune(older_than=later, now=later) == 5
        assert assert_counted(url) == {("harbor", "received"): 7}


async def test_writers_at_once_neither_wait_nor_miscount(postgres: Postgres) -> None:
    """Four processes record and decide events of the same hooks in opposite orders, in many small transactions."""
    url = postgres.new_database(postgres.template(migrate_state))

    async def write(state: State, number: int) -> None:
        hooks = ["one", "two"] if number % 2 else ["two", "one"]
        for turn in range(25):
            first = number * 1000 + turn * 10
            some = [new for hook in hooks for new in arriving(hook, range(first, first + 3))]
            ids = await state.events.record(some, now=NOW)
            await state.events.mark_dispatched(ids[::2], now=NOW)
            await state.events.mark_unmatched(ids[1::2], now=NOW)

    async with open_state(url) as one, open_state(url) as two, open_state(url) as three, open_state(url) as four:
        await asyncio.gather(*(write(state, number) for number, state in enumerate((one, two, three, four))))
    assert sum(assert_counted(url).values()) == 600
    assert number_of_deltas(url) < MOST_DELTAS


def test_an_open_transaction_delays_no_other_writer(postgres: Postgres) -> None:
    """Its changes are uncounted until it commits, and nothing waits for it; a rollback leaves no trace."""
    url = postgres.new_database(postgres.template(migrate_state))
    with psycopg.connect(url) as open_one, psycopg.connect(url, autocommit=True) as other:
        other.execute(b"SET lock_timeout = '5s'")
        small = FILL.replace(b"20000", b"1")
        other.execute(small)
        for _ in range(70):  # Beyond a sum, which takes in the committed row.
            open_one.execute(small)
        open_one.execute(FILL)
        for _ in range(70):
            other.execute(small)
        assert assert_counted(url) == {("hook1", "dispatched"): 71}
        open_one.rollback()
    assert assert_counted(url) == {("hook1", "dispatched"): 71}
    assert number_of_deltas(url) < MOST_DELTAS


async def test_the_upgrade_counts_the_events_that_exist(postgres: Postgres) -> None:
    """Those of revision 0013, and each change afterwards."""
    url = postgres.new_database(postgres.template(migrate_state))
    change(url, *BACK_TO_0013, FILL)
    async with open_state(url) as state:
        counts = (await state.events.count_by_status()).counts
        assert counts["hook1", EventStatus.DISPATCHED] == 5000
        assert sum(assert_counted(url).values()) == 20_000
        await state.events.record(arriving("hook1", range(3)), now=NOW)
    assert assert_counted(url)["hook1", "received"] == 3
    change(url, b"DELETE FROM image_syncer_events")
    assert not assert_counted(url)


async def test_a_count_reads_no_decided_event(postgres: Postgres) -> None:
    """The page and the metrics ask for it all the time: no scan of the events, and few rows of counters."""
    url = postgres.new_database(postgres.template(migrate_state))
    queries: list[tuple[str, dict[str, object]]] = []

    def keep(_: Connection, __: object, query: str, arguments: dict[str, object], *___: object) -> None:
        queries.append((query, arguments))

    async with open_state(url) as state:
        change(url, FILL, b"ANALYZE")
        event.listen(Engine, "before_cursor_execute", keep)
        try:
            await state.events.count_by_status()
        finally:
            event.remove(Engine, "before_cursor_execute", keep)
    counting = [(query, arguments) for query, arguments in queries if "image_syncer_event" in query]
    assert len(counting) == 2
    with psycopg.connect(url) as connection:
        plans = [
            connection.execute(b"EXPLAIN " + query.encode(), arguments).fetchall() for query, arguments in counting
        ]
    assert not [line for plan in plans for (line,) in plan if "Seq Scan on image_syncer_events" in line], plans
    assert number_of_deltas(url) < MOST_DELTAS
