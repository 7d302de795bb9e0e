"""A failing state ends no run: it is reported once, and the run continues as without a state."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest

from image_syncer.cache import Caches
from image_syncer.cache.backend import BlobRecord, CacheBackend, FilterKey, LazyBackend
from image_syncer.cache.persistent import PersistentBlobLocations, PersistentDigestCache, for_daemon, for_run
from image_syncer.cache.write_behind import MAX_PENDING, WriteBehind
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import UploadCheckpoint
from image_syncer.state import State, StateCacheBackend, StateUnavailable, open_state
from image_syncer.state.database_url import SqliteFile
from image_syncer.state.sql_session import SqlDatabase
from image_syncer.state.sqlite_database import open_sqlite_database
from state.hints import HERE, KEEP, blob, digest, shelf

ARM = PlatformFilter.parse([], ["arm64"])
Harm = Callable[[Path, SqlDatabase], Awaitable[None]]
Opener = Callable[[Path], AbstractAsyncContextManager[SqlDatabase]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a SQLite state that does not exist yet."""
    return tmp_path / "state.db"


def rows(file: Path) -> int:
    """Return how many blobs are written."""
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM image_syncer_blobs").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # Not made yet, or this moment.


def over(database: SqlDatabase) -> LazyBackend:
    """Return the caches in a database that is open already."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[CacheBackend]:
        yield StateCacheBackend(database, keep=KEEP)

    return LazyBackend(opened, lambda: False)


async def execute(database: SqlDatabase, statement: str) -> None:
    """Execute *statement* on the connection that writes."""
    await database.write_sql(lambda session: session.change(statement, {}))


async def deleted(file: Path, database: SqlDatabase) -> None:
    """Remove the file."""
    del database
    await asyncio.to_thread(file.unlink)


async def replaced(file: Path, database: SqlDatabase) -> None:
    """Put another file in its place."""
    await deleted(file, database)
    await asyncio.to_thread(file.touch)


async def full(file: Path, database: SqlDatabase) -> None:
    """Leave no room for one more page."""
    del file
    await execute(database, "PRAGMA max_page_count = 1")


async def read_only(file: Path, database: SqlDatabase) -> None:
    """Make every write fail."""
    del file
    await execute(database, "PRAGMA query_only = ON")


async def without_tables(file: Path, database: SqlDatabase) -> None:
    """Drop the table."""
    del file
    await execute(database, "DROP TABLE image_syncer_blobs")


@asynccontextmanager
async def opened_by_daemon(file: Path) -> AsyncGenerator[SqlDatabase]:
    """Open the database in *file* with SQLAlchemy."""
    async with open_state(str(file)) as state:
        yield state.database


@asynccontextmanager
async def opened_by_one_shot_run(file: Path) -> AsyncGenerator[SqlDatabase]:
    """Open the database in *file* without SQLAlchemy."""
    async with open_sqlite_database(SqliteFile(file), patience=10.0) as database:
        yield database


OPENERS = [opened_by_daemon, opened_by_one_shot_run]


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (deleted, "while in use"),
        (replaced, "replaced by another file"),
        (full, "full"),
        (read_only, "readonly"),
        (without_tables, "no such table"),
    ],
)
async def test_trouble_in_mid_run_is_reported_once_and_memory_goes_on(
    harm: Harm, said: str, opened: Opener, file: Path
) -> None:
    """Results from before and after it are known until the end of the run."""
    async with opened(file) as database, for_run(over(database)) as memories:
        memories.blob_locations.record(HERE, blob("before"))
        assert await memories.flush() == ()
        await harm(file, database)
        for number in range(500):  # More than what room there is in the last page.
            memories.blob_locations.record(HERE, blob(f"after-{number}"))
        (warning,) = await memories.flush()
        assert f"state {file}: " in warning
        assert said in warning
        assert "which only costs requests" in warning
        memories.blob_locations.record(HERE, blob("later"))
        assert await memories.flush() == ()
        digests = [digest(name) for name in ("before", "after-0", "after-499", "later", "never")]
        assert list(await memories.blob_locations.holders("target.test", digests)) == digests[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("opened", OPENERS)
async def test_a_file_that_stays_locked_is_reported_in_bounded_time(opened: Opener, file: Path) -> None:
    """The long transaction of another process delays a run once, not for each blob."""
    async with opened(file) as database, for_run(over(database)) as memories:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(8):
                for name in ("a", "b", "c"):
                    memories.blob_locations.record(HERE, blob(name))
                    said = await memories.flush()
                    assert bool(said) == (name == "a")


async def test_nothing_is_opened_before_it_is_needed(file: Path) -> None:
    """A read creates no state either; the first note does."""
    async with for_run(shelf(str(file), is_new=True)) as memories:
        assert await memories.blob_locations.holders("target.test", [digest("a")]) == {}
        assert await memories.digests.filtered_digest(digest("a"), ARM) is None
        assert await memories.digests.target_digests(HERE, 60) == {}
        assert await memories.flush() == ()
        assert not await asyncio.to_thread(file.exists)
        memories.blob_locations.record(HERE, blob("a"))
        assert await memories.flush() == ()
        assert rows(file) == 1


async def test_notes_are_written_while_the_run_goes_on(file: Path) -> None:
    """The findings of a killed run are not lost."""
    async with for_run(shelf(str(file))) as memories, asyncio.timeout(10):
        memories.blob_locations.record(HERE, blob("a"))
        while not await asyncio.to_thread(rows, file):  # noqa: ASYNC110 - another program would have to tell us
            await asyncio.sleep(0.05)


async def test_where_an_upload_is_and_how_far_is_written_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the second that other notes wait for company, much of a big blob moves; a kill would lose it."""
    monkeypatch.setattr("image_syncer.cache.write_behind.GATHER_SECONDS", 3600)
    async with for_run(shelf(str(file))) as memories, asyncio.timeout(10):
        memories.blob_locations.record(HERE, blob("a"))
        memories.uploads.forget(HERE, digest("b"))
        await asyncio.sleep(0.1)
        assert not await asyncio.to_thread(file.exists)
        memories.uploads.record(HERE, digest("b"), UploadCheckpoint("https://target.test/upload", 0))
        while not await asyncio.to_thread(rows, file):  # noqa: ASYNC110 - another program would have to tell us
            await asyncio.sleep(0.05)


async def test_a_state_is_made_before_an_upload_is_begun(file: Path) -> None:
    """That takes longer than much of a big blob does, and a kill meanwhile would find the upload in no state."""
    async with for_run(shelf(str(file), is_new=True)) as memories:
        assert await memories.uploads.take(HERE, digest("a")) is None
        assert await asyncio.to_thread(file.exists)


async def test_what_waits_to_be_written_is_bounded(file: Path) -> None:
    """A slow disk costs the oldest notes, not memory."""
    ledger = WriteBehind(shelf(str(file)), pytest.fail)
    for number in range(MAX_PENDING + 10):
        ledger.put(BlobRecord(HERE, digest(str(number))))
    assert rows(file) == 0
    await ledger.close()
    assert rows(file) == MAX_PENDING


async def test_a_failure_of_the_run_comes_out_as_it_is(file: Path) -> None:
    """Its pending notes are written."""

    async def work(memories: Caches) -> None:
        memories.blob_locations.record(HERE, blob("a"))
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        async with for_run(shelf(str(file))) as memories:
            await work(memories)
    assert rows(file) == 1


class Counting(StateCacheBackend):
    """Counts queries and lets them wait for *gate*."""

    queries: list[Collection[object]]
    gate: asyncio.Event

    @classmethod
    def of(cls, state: State) -> "Counting":
        """Return an archive whose gate is open."""
        made = cls(state.database, keep=KEEP)
        made.queries, made.gate = [], asyncio.Event()
        made.gate.set()
        return made

    async def reached(self, number: int) -> None:
        """Wait until this many queries have arrived."""
        async with asyncio.timeout(10):
            while len(self.queries) < number:  # noqa: ASYNC110 - the backend is the real one and has no callback
                await asyncio.sleep(0)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[CacheBackend]:
        """Return the archive."""
        yield self

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Count the query and answer it."""
        self.queries.append(list(digests))
        return await super().holders(registry, digests)

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Count the query, wait for the gate, and answer it."""
        self.queries.append(list(keys))
        await self.gate.wait()
        return await super().filtered_digests(keys)


async def test_the_same_is_not_asked_twice(file: Path) -> None:
    """The blobs of one call are one query; a registry without rows is queried once."""
    async with open_state(str(file)) as state:
        archive = Counting.of(state)
        knowledge = PersistentBlobLocations(WriteBehind(LazyBackend(archive.opened, lambda: False), pytest.fail))
        for name in ("a", "b"):
            assert await knowledge.holders("strange.test", [digest(name)]) == {}
        assert archive.queries == [[digest("a")]]
        await archive.write([BlobRecord(HERE, digest("a"))], tidy=False)
        for _ in range(3):
            found = await knowledge.holders("target.test", [digest("a"), digest("b"), digest("c")])
            assert found == {digest("a"): HERE}
        assert archive.queries[1:] == [[digest("a"), digest("b"), digest("c")]]


def digests_alive() -> int:
    """Return the number of digests that are still referenced."""
    gc.collect()
    return sum(isinstance(each, Digest) for each in gc.get_objects())


async def test_a_process_that_runs_for_ever_keeps_what_it_used_lately(file: Path) -> None:
    """Written digests are queried again; an absent digest is forgotten once it may have been added."""
    time, before = [0.0], digests_alive()
    async with open_state(str(file)) as state:
        archive = StateCacheBackend(state.database, keep=KEEP)
        ledger = WriteBehind(over(state.database), pytest.fail)
        await archive.write([BlobRecord(HERE, digest("known"))], tidy=False)  # So that the registry is no stranger.
        knowledge = PersistentBlobLocations(ledger, lambda: time[0])
        for second in range(800):
            time[0] = float(second)
            fresh = [blob(f"{second}/{number}") for number in range(30)]
            assert await knowledge.holders("target.test", [one.digest for one in fresh]) == {}
            for one in fresh:
                knowledge.record(HERE, one)
            if second % 100 == 0:
                await ledger.flush()
        await ledger.flush()
        assert digests_alive() - before <= 2 * MAX_PENDING + 100  # 24 000 were seen.
        oldest, latest = digest("0/0"), digest("799/0")
        assert await knowledge.holders("target.test", [oldest, latest]) == {oldest: HERE, latest: HERE}


async def test_questions_that_come_together_are_one_query(file: Path) -> None:
    """Also if the caller that queries for all is cancelled."""
    async with open_state(str(file)) as state:
        archive = Counting.of(state)
        history = PersistentDigestCache(WriteBehind(LazyBackend(archive.opened, lambda: False), pytest.fail))
        archive.gate.clear()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(history.filtered_digest(digest(str(number)), ARM)) for number in range(20)]
            await archive.reached(1)
            tasks[0].cancel()
            await archive.reached(2)
            tasks[1].cancel()  # It asked for all the others too.
            await archive.reached(3)
            archive.gate.set()
        assert [task.cancelled() for task in tasks] == [True] * 2 + [False] * 18
        assert [len(keys) for keys in archive.queries] == [1, 20, 20]


async def test_a_daemon_asks_again_after_a_rest(file: Path) -> None:
    """Each outage of the database is reported, and caching resumes afterwards."""
    said: list[str] = []
    away = True

    @asynccontextmanager
    async def opened() -> AsyncGenerator[CacheBackend]:
        if away:
            raise StateUnavailable("state: away")
        async with open_state(str(file)) as state:
            yield StateCacheBackend(state.database, keep=KEEP)

    async with for_daemon(LazyBackend(opened, lambda: False), said.append, rest_seconds=0.2) as memories:
        for _ in range(3):
            assert await memories.digests.target_digests(HERE, 60) == {}
        assert len(said) == 1
        away = False
        await asyncio.sleep(0.25)
        memories.blob_locations.record(HERE, blob("a"))
    assert (len(said), rows(file)) == (1, 1)
