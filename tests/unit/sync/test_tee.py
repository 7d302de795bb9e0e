"""One read for several uploads: bounded memory, and no upload depends on another."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from image_syncer.errors import Unavailable
from image_syncer.roles import Chunk
from image_syncer.sync.tee import LagPolicy, SharedRead

CHUNK = bytes(1000)
PUMP = -1
"""The number of a member that only pumps."""


class SlicedSource:
    """A source of *chunks* chunks that counts opens and chunks read; the n-th open fails at the n-th of *breaks*."""

    def __init__(self, chunks: int, *breaks: int) -> None:
        self._chunks = chunks
        self._breaks = list(breaks)
        self.opened = 0
        self.open_now = 0
        self.read = 0

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open it from byte *start*."""
        self.opened += 1
        self.open_now += 1
        try:
            yield self._flow(start // len(CHUNK), self._breaks.pop(0) if self._breaks else None)
        finally:
            self.open_now -= 1

    async def _flow(self, start: int, break_at: int | None) -> AsyncGenerator[Chunk]:
        for number in range(start, self._chunks):
            await asyncio.sleep(0)
            if number == break_at:
                raise Unavailable("the source broke off")
            self.read += 1
            yield number.to_bytes(4, "big") + CHUNK[4:]


async def receive(
    shared: SharedRead, reader: int, start: int = 0, *, pause: float = 0.0, limit: int = 1 << 30
) -> list[int]:
    """Read everything from chunk *start* (or *limit* chunks) and return the numbers of the chunks."""
    received = list[int]()
    async with shared.open(reader, start * len(CHUNK)) as chunks:
        async for chunk in chunks:
            received.append(int.from_bytes(chunk[:4], "big"))
            if len(received) >= limit:
                break
            await asyncio.sleep(pause)
    return received


@asynccontextmanager
async def pumping(source: SlicedSource, readers: int, policy: LagPolicy | None = None) -> AsyncGenerator[SharedRead]:
    """Yield a shared read that a task of its own pumps."""
    policy = policy or LagPolicy(window_bytes=4000, stall=5.0, sum=5.0)
    shared = SharedRead(source.open, readers, policy=policy)
    async with asyncio.timeout(20), shared.reading(PUMP):
        yield shared


async def test_all_readers_get_everything_from_one_read() -> None:
    """One of three readers is slower than the others."""
    source = SlicedSource(30)
    async with pumping(source, 3) as shared:
        received = await asyncio.gather(receive(shared, 0), receive(shared, 1, pause=0.001), receive(shared, 2))
    assert received == [list(range(30))] * 3
    assert (source.opened, source.open_now) == (1, 0)


async def test_the_window_bounds_what_is_read_ahead_of_the_slowest_reader() -> None:
    """Memory stays flat whatever the size of the blob is."""
    source = SlicedSource(100)
    async with pumping(source, 2) as shared:
        fast = asyncio.ensure_future(receive(shared, 0))
        async with shared.open(1) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.05)
            assert source.read <= 1 + 4 + 1  # The chunk it has, the window, and one chunk that waits for room.
            shared.close(1)
        assert await fast == list(range(100))


async def test_a_stalled_reader_falls_behind_and_reads_alone() -> None:
    """The others continue; the stalled reader gets the whole content in the end."""
    source = SlicedSource(50)
    fell = list[int]()
    shared = SharedRead(
        source.open, 2, policy=LagPolicy(window_bytes=4000, stall=0.05, sum=60.0), fell_behind=fell.append
    )
    async with asyncio.timeout(20), shared.reading(PUMP):
        fast = asyncio.ensure_future(receive(shared, 0))
        with pytest.raises(Unavailable, match="slower than the others"):
            await receive(shared, 1, pause=0.5)
        assert await fast == list(range(50))
        assert await receive(shared, 1) == list(range(50))
    assert (source.opened, fell) == (2, [1])


async def test_a_reader_that_is_always_slower_falls_behind_in_the_end() -> None:
    """No single wait is a stall, but together they cost the others too much."""
    source = SlicedSource(400)
    async with pumping(source, 2, LagPolicy(window_bytes=4000, stall=5.0, sum=0.1)) as shared:
        fast = asyncio.ensure_future(receive(shared, 0))
        with pytest.raises(Unavailable, match="slower than the others"):
            await receive(shared, 1, pause=0.01)
        assert await fast == list(range(400))


async def test_a_slow_reader_costs_the_others_a_bounded_share_of_their_time() -> None:
    """The bound is the sum and a share of the elapsed time, however long the read takes."""
    source = SlicedSource(400)
    clock = asyncio.get_running_loop().time
    async with pumping(source, 2, LagPolicy(window_bytes=4000, stall=5.0, sum=0.2, share=0.25)) as shared:
        slow = asyncio.ensure_future(receive(shared, 1, pause=0.02))  # 8 s alone.
        began = clock()
        assert await receive(shared, 0) == list(range(400))
        assert clock() - began < 2.0
        with pytest.raises(Unavailable):
            await slow


async def test_a_reader_that_never_opens_delays_the_others_once() -> None:
    """An upload may end before it reads (the target refuses it), or hang before it does."""
    source = SlicedSource(50)
    async with pumping(source, 3, LagPolicy(window_bytes=4000, stall=0.05, sum=60.0)) as shared:
        shared.close(2)
        assert await receive(shared, 0) == list(range(50))
    assert source.opened == 1


async def test_a_reader_that_fails_leaves_the_others_alone() -> None:
    """A target that fails in the middle costs the others nothing."""
    source = SlicedSource(50)
    async with pumping(source, 2) as shared:
        other = asyncio.ensure_future(receive(shared, 0))
        assert len(await receive(shared, 1, limit=3)) == 3
        shared.close(1)
        assert await other == list(range(50))
    assert source.opened == 1


async def upload(shared: SharedRead, reader: int, *, fail_after: int = 1 << 30) -> list[int]:
    """Read everything as a member, and return the numbers of the chunks; `Unavailable` after *fail_after* chunks."""
    received = list[int]()
    async with shared.reading(reader) as opener, opener() as chunks:
        async for chunk in chunks:
            received.append(int.from_bytes(chunk[:4], "big"))
            if len(received) >= fail_after:
                raise Unavailable("the target failed")
    return received


async def test_another_member_takes_over_the_pump_at_the_same_byte() -> None:
    """The member that reads for all may fail in the middle; the other gets every chunk once."""
    source = SlicedSource(50)
    shared = SharedRead(source.open, 2, policy=LagPolicy(window_bytes=4000, stall=5.0, sum=5.0))
    async with asyncio.timeout(20):
        failed, received = await asyncio.gather(
            upload(shared, 0, fail_after=10), upload(shared, 1), return_exceptions=True
        )
    assert isinstance(failed, Unavailable)
    assert received == list(range(50))
    assert source.opened == 2
    assert source.read <= 50 + 1  # At most the chunk that the first pump could not hand over.


async def test_a_member_that_is_done_first_reads_on_for_the_others() -> None:
    """It resumed alone and was faster; another request to the source is not needed."""
    source = SlicedSource(50)
    shared = SharedRead(source.open, 2, policy=LagPolicy(window_bytes=4000, stall=5.0, sum=5.0))

    async def resume() -> list[int]:
        async with shared.reading(0):
            await receive(shared, 0, limit=5)
            return await receive(shared, 0, 45)

    async def slow() -> list[int]:
        async with shared.reading(1):
            return await receive(shared, 1, pause=0.005)

    async with asyncio.timeout(20):
        received = await asyncio.gather(resume(), slow())
    assert received == [list(range(45, 50)), list(range(50))]
    assert source.opened == 2  # The shared read, and the one from the middle.


async def test_readers_share_the_next_read_after_a_failure_of_the_source() -> None:
    """All readers get the reason, and those that open again share one read again."""
    source = SlicedSource(20, 10)
    async with pumping(source, 2) as shared:
        broken = await asyncio.gather(receive(shared, 0), receive(shared, 1), return_exceptions=True)
        assert [str(error) for error in broken] == ["the source broke off"] * 2
        assert await asyncio.gather(receive(shared, 0), receive(shared, 1)) == [list(range(20))] * 2
    assert source.opened == 2


async def test_the_read_ends_with_its_last_reader() -> None:
    """Nothing is read that no reader needs."""
    source = SlicedSource(1000)
    async with pumping(source, 1) as shared:
        await receive(shared, 0, limit=2)
        await asyncio.sleep(0.05)
        assert (source.open_now, source.read < 20) == (0, True)


async def test_a_reader_that_resumes_in_the_middle_reads_alone() -> None:
    """The others continue with the shared read and do not wait for it any more."""
    source = SlicedSource(50)
    async with pumping(source, 2) as shared:
        other = asyncio.ensure_future(receive(shared, 0))
        assert len(await receive(shared, 1, limit=30)) == 30
        assert await receive(shared, 1, 28) == list(range(28, 50))
        assert await other == list(range(50))
    assert (source.opened, source.read) == (2, 72)


async def test_a_reader_that_starts_in_the_middle_is_not_waited_for() -> None:
    """An earlier process had sent the beginning."""
    source = SlicedSource(50)
    async with pumping(source, 2) as shared:
        assert await receive(shared, 1, 40) == list(range(40, 50))
        assert await receive(shared, 0) == list(range(50))
