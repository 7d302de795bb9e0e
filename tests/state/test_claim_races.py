"""Two processes claim one blob, with the second one's turn at each point of the first one's transactions."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from image_syncer.cache import blob_claims
from image_syncer.cache.backend import BlobKey, LazyBackend
from image_syncer.cache.blob_claims import BlobClaims
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.concurrency.taskpool import background
from image_syncer.state import open_state
from image_syncer.state.cache_tables import StateCacheBackend
from image_syncer.state.sql_session import Row, SqlDatabase, SqlSession, SqlWork, Values
from state.hints import KEEP, digest
from support.stores import KINDS, migrate_state, new_url

T = TypeVar("T")
MOST_POINTS = 100


class Turns:
    """Gives the turn to *other* at one point: the first time that `pass_point` is called *skip* times already."""

    def __init__(self, skip: int, other: Callable[[], Awaitable[bool]]) -> None:
        self._skip = skip
        self._other = other
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[bool] | None = None

    async def pass_point(self) -> None:
        """Run the other process; it may have to wait for this one."""
        self._skip -= 1
        if self._skip == -1:
            self.answer = asyncio.ensure_future(self._other())
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.answer), 0.05)

    def pass_from_thread(self) -> None:
        """Do so from the thread of a transaction."""
        asyncio.run_coroutine_threadsafe(self.pass_point(), self._loop).result(10)


class SteppedSession:
    """A transaction that passes a point after each statement."""

    def __init__(self, session: SqlSession, turns: Turns) -> None:
        self._session = session
        self._turns = turns

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """Return the rows."""
        found = self._session.rows(sql, values)
        self._turns.pass_from_thread()
        return found

    def change(self, sql: str, values: Values) -> int:
        """Return the number of changed rows."""
        changed = self._session.change(sql, values)
        self._turns.pass_from_thread()
        return changed

    def change_each(self, sql: str, many: Sequence[Mapping[str, object]]) -> None:
        """Execute it for each."""
        self._session.change_each(sql, many)


class SteppedDatabase:
    """A database that passes a point before and after each transaction, and within it if others can write then."""

    def __init__(self, database: SqlDatabase, *, within: bool) -> None:
        self._database = database
        self._within = within
        self.turns: Turns | None = None

    async def read_sql(self, work: SqlWork[T]) -> T:
        """Read, and pass points."""
        return await self._stepped(self._database.read_sql, work)

    async def write_sql(self, work: SqlWork[T]) -> T:
        """Write, and pass points."""
        return await self._stepped(self._database.write_sql, work)

    async def _stepped(self, execute: Callable[[SqlWork[T]], Awaitable[T]], work: SqlWork[T]) -> T:
        turns = self.turns
        if turns is None:
            return await execute(work)
        await turns.pass_point()
        stepped: SqlWork[T] = (lambda session: work(SteppedSession(session, turns))) if self._within else work
        result = await execute(stepped)
        await turns.pass_point()
        return result


class Site:
    """Databases of two processes with one state."""

    def __init__(self, one: SteppedDatabase, two: SqlDatabase) -> None:
        self.one = one
        self.two = two


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_claims, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(blob_claims, "SETTLE_SECONDS", 10.0)
    monkeypatch.setattr(blob_claims, "SETTLE_POLL_SECONDS", 0.005)


@pytest.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Site]:
    """Two processes that have the same state open."""
    async with AsyncExitStack() as stack:
        url = new_url(request, tmp_path / "state.db", migrate_state)
        databases = [(await stack.enter_async_context(open_state(url))).database for _ in range(2)]
        yield Site(SteppedDatabase(databases[0], within=request.param == "postgresql"), databases[1])


@asynccontextmanager
async def process(database: SqlDatabase, name: str) -> AsyncGenerator[BlobClaims]:
    """Yield the claims of a process *name*, which ends in order."""
    backend = StateCacheBackend(database, keep=KEEP, holder=name)
    buffer = WriteBehind(LazyBackend(lambda: nullcontext(backend), lambda: False), pytest.fail)
    claims = BlobClaims(buffer)
    try:
        async with background(buffer.keep_flushing()):
            yield claims
    finally:
        await claims.withdraw()


async def claim_twice(site: Site, skip: int, key: BlobKey, first: Callable[[BlobClaims], Awaitable[bool]]) -> bool:
    """Let the second process claim *key* at point *skip* of what the *first* does; False if there is no such point."""
    async with (
        process(site.one, f"one {skip}") as one,
        process(site.two, f"two {skip}") as two,
        background(two.keep_alive()),
    ):
        turns = Turns(skip, lambda: two.claim(key))
        site.one.turns = turns
        try:
            has_first = await first(one)
        finally:
            site.one.turns = None
        if turns.answer is None:
            return False
        async with background(one.keep_alive()), asyncio.timeout(10):
            has_second = await turns.answer
        assert has_first != has_second, f"point {skip}: {has_first} and {has_second}"
    return True


async def each_point(site: Site, first: Callable[[BlobClaims, BlobKey], Awaitable[bool]]) -> int:
    """Return the number of points of *first*, at each of which another process claimed the same blob."""
    for skip in range(MOST_POINTS):
        key = ("target.test", digest(f"blob {skip}"))
        if not await claim_twice(site, skip, key, lambda claims, key=key: first(claims, key)):
            return skip
    raise AssertionError(f"more than {MOST_POINTS} points")


async def test_two_processes_that_start_at_once_claim_a_blob_once(site: Site) -> None:
    """Whatever one of them reads and writes while the other announces itself and claims."""
    assert await each_point(site, lambda one, key: one.claim(key)) >= 4


async def test_a_process_that_is_alone_again_claims_nothing_twice(site: Site) -> None:
    """A newcomer arrives while the process notices that its neighbour has gone."""

    async def lose_neighbour(one: BlobClaims, key: BlobKey) -> bool:
        turns, site.one.turns = site.one.turns, None
        async with process(site.two, "three") as three:
            await three.claim(("target.test", digest("another")))
            async with background(three.keep_alive()):
                await one.claim(("target.test", digest("one more")))
            assert one.has_others
        site.one.turns = turns
        async with background(one.keep_alive()):
            await asyncio.sleep(0.04)
            has_claimed = await one.claim(key)
            await asyncio.sleep(0.03)
        return has_claimed

    assert await each_point(site, lose_neighbour) >= 8


Turn = Callable[[BlobClaims, BlobClaims, BlobKey], Awaitable[bool]]


async def each_point_of_a_look(site: Site, turn: Turn, *, is_held: bool) -> AsyncGenerator[tuple[BlobClaims, BlobKey]]:
    """Take *turn* at each point of the looks that tell a newcomer what a process claims; yield the newcomer and blob.

    With *is_held*, the process claims the blob before.
    """
    for skip in range(MOST_POINTS):
        key = ("target.test", digest(f"blob {skip}"))
        async with process(site.one, f"one {skip}") as one, process(site.two, f"two {skip}") as two:
            assert await one.claim(("target.test", digest("another")))  # So that it does not become idle.
            if is_held:
                assert await one.claim(key)
            turns = site.one.turns = Turns(skip, lambda one=one, two=two, key=key: turn(one, two, key))
            async with background(one.keep_alive()), background(two.keep_alive()), asyncio.timeout(10):
                await two.claim(("target.test", digest("of two")))
                site.one.turns = None
                if turns.answer is None:
                    assert skip >= 6
                    return
                assert await turns.answer
                yield two, key
    raise AssertionError(f"more than {MOST_POINTS} points")


async def test_a_blob_that_is_claimed_while_others_are_found_is_claimed_once(site: Site) -> None:
    """An upload begins while its process tells a newcomer what it uploads."""

    async def claim_both(one: BlobClaims, two: BlobClaims, key: BlobKey) -> bool:
        return await one.claim(key) and not await two.claim(key)

    async for _ in each_point_of_a_look(site, claim_both, is_held=False):
        pass


async def test_a_blob_that_is_released_while_its_claim_is_written_is_free(site: Site) -> None:
    """An upload ends while its process tells a newcomer about it."""

    async def release(one: BlobClaims, _: BlobClaims, key: BlobKey) -> bool:
        one.release(key)
        return True

    async for two, key in each_point_of_a_look(site, release, is_held=True):
        while not await two.claim(key):  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)
