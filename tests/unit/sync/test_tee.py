"""One read for many uploads: bounded, and nobody is another's trouble."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from image_syncer.errors import Unavailable
from image_syncer.roles import Chunk
from image_syncer.sync.tee import LagPolicy, SharedRead

CHUNK = bytes(1000)


class Tap:
    """A source of *chunks* chunks that counts how often it was opened and how much was drawn; it breaks at *breaks*."""

    def __init__(self, chunks: int, *breaks: int) -> None:
        self._chunks = chunks
        self._breaks = list(breaks)
        self.opened = 0
        self.open_now = 0
        self.drawn = 0

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open it from the chunk number *start*."""
        self.opened += 1
        self.open_now += 1
        try:
            yield self._flow(start, self._breaks.pop(0) if self._breaks else None)
        finally:
            self.open_now -= 1

    async def _flow(self, start: int, break_at: int | None) -> AsyncGenerator[Chunk]:
        for number in range(start, self._chunks):
            await asyncio.sleep(0)
            if number == break_at:
                raise Unavailable("the source broke off")
            self.drawn += 1
            yield number.to_bytes(4, "big") + CHUNK[4:]


async def drink(
    shared: SharedRead, reader: int, start: int = 0, *, pause: float = 0.0, limit: int = 1 << 30
) -> list[int]:
    """Read everything (or *limit* chunks) and return the numbers of the chunks."""
    got = list[int]()
    async with shared.open(reader, start) as chunks:
        async for chunk in chunks:
            got.append(int.from_bytes(chunk[:4], "big"))
            if len(got) >= limit:
                break
            await asyncio.sleep(pause)
    return got


@asynccontextmanager
async def pumping(tap: Tap, readers: int, pace: LagPolicy | None = None) -> AsyncGenerator[SharedRead]:
    """A shared read whose pump runs."""
    shared = SharedRead(tap.open, readers, pace=pace or LagPolicy(window_bytes=4000, stall=5.0, sum=5.0))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        pump = group.create_task(shared.pump())
        try:
            yield shared
        finally:
            pump.cancel()


async def test_all_get_everything_of_one_read() -> None:
    """However many they are, and though one is slower."""
    tap = Tap(30)
    async with pumping(tap, 3) as shared:
        got = await asyncio.gather(drink(shared, 0), drink(shared, 1, pause=0.001), drink(shared, 2))
    assert got == [list(range(30))] * 3
    assert (tap.opened, tap.open_now) == (1, 0)


async def test_the_slowest_bounds_what_is_held() -> None:
    """No more is read ahead of it than the window takes."""
    tap = Tap(100)
    async with pumping(tap, 2) as shared:
        fast = asyncio.ensure_future(drink(shared, 0))
        async with shared.open(1) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.05)
            assert tap.drawn <= 1 + 4 + 1  # What it had, the window, and the chunk that waits for room.
            shared.close(1)
        assert await fast == list(range(100))


async def test_who_stalls_falls_behind_and_is_served_alone() -> None:
    """The others go on; what he gets in the end is whole."""
    tap = Tap(50)
    async with pumping(tap, 2, LagPolicy(window_bytes=4000, stall=0.05, sum=60.0)) as shared:
        fast = asyncio.ensure_future(drink(shared, 0))
        with pytest.raises(Unavailable, match="too slow for the others"):
            await drink(shared, 1, pause=0.5)
        assert await fast == list(range(50))
        assert await drink(shared, 1) == list(range(50))
    assert tap.opened == 2


async def test_who_is_always_slower_falls_behind_when_it_adds_up() -> None:
    """No single wait is a stall, yet all of them together cost the others too much."""
    tap = Tap(400)
    async with pumping(tap, 2, LagPolicy(window_bytes=4000, stall=5.0, sum=0.1)) as shared:
        fast = asyncio.ensure_future(drink(shared, 0))
        with pytest.raises(Unavailable, match="too slow"):
            await drink(shared, 1, pause=0.01)
        assert await fast == list(range(400))


async def test_who_never_comes_is_not_waited_for() -> None:
    """An upload may end before it reads (the target says no), or hang before it does."""
    tap = Tap(50)
    async with pumping(tap, 3, LagPolicy(window_bytes=4000, stall=0.05, sum=60.0)) as shared:
        shared.close(2)
        assert await drink(shared, 0) == list(range(50))
    assert tap.opened == 1


async def test_one_who_gives_up_leaves_the_others_alone() -> None:
    """A target that fails in the middle costs the others nothing."""
    tap = Tap(50)
    async with pumping(tap, 2) as shared:
        other = asyncio.ensure_future(drink(shared, 0))
        assert len(await drink(shared, 1, limit=3)) == 3
        shared.close(1)
        assert await other == list(range(50))
    assert tap.opened == 1


async def test_a_source_that_breaks_is_read_once_more_for_all() -> None:
    """They hear why, and those who try again share one read again."""
    tap = Tap(20, 10)
    async with pumping(tap, 2) as shared:
        broken = await asyncio.gather(drink(shared, 0), drink(shared, 1), return_exceptions=True)
        assert [str(error) for error in broken] == ["the source broke off"] * 2
        assert await asyncio.gather(drink(shared, 0), drink(shared, 1)) == [list(range(20))] * 2
    assert tap.opened == 2


async def test_when_nobody_is_left_the_read_ends() -> None:
    """Nothing is drawn from the source for nobody."""
    tap = Tap(1000)
    async with pumping(tap, 1) as shared:
        await drink(shared, 0, limit=2)
        await asyncio.sleep(0.05)
        assert (tap.open_now, tap.drawn < 20) == (0, True)


async def test_who_goes_on_in_the_middle_reads_alone() -> None:
    """The others go on with the read that they share, and wait for him no more."""
    tap = Tap(50)
    async with pumping(tap, 2) as shared:
        other = asyncio.ensure_future(drink(shared, 0))
        assert len(await drink(shared, 1, limit=30)) == 30
        assert await drink(shared, 1, 28) == list(range(28, 50))
        assert await other == list(range(50))
    assert (tap.opened, tap.drawn) == (2, 72)


async def test_who_begins_in_the_middle_is_not_waited_for() -> None:
    """An earlier process had sent the rest for him."""
    tap = Tap(50)
    async with pumping(tap, 2) as shared:
        assert await drink(shared, 1, 40) == list(range(40, 50))
        assert await drink(shared, 0) == list(range(50))
