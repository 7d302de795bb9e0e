import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from image_syncer.concurrency.semaphore import ResizableSemaphore


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_given_out_in_the_order_of_asking() -> None:
    """First come, first served, also against those who come in the very moment that a place is free."""
    places, order = ResizableSemaphore(1), list[int]()

    async def work(number: int) -> None:
        await places.acquire()
        order.append(number)
        await asyncio.sleep(0)
        places.release()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work(number))
    assert order == list(range(20))
    assert places.used == 0


async def test_places_shrink_below_what_is_in_use_without_interrupting() -> None:
    """Three are taken, one is left: two come back and nobody gets in, then one after the other."""
    places, inside = ResizableSemaphore(3), list[str]()
    for _ in range(3):
        await places.acquire()
    places.resize(1)

    async def enter() -> None:
        await places.acquire()
        inside.append("in")

    async with asyncio.TaskGroup() as group:
        group.create_task(enter())
        for _ in range(2):
            places.release()
            await settle()
            assert not inside
        places.release()
    assert (inside, places.used) == (["in"], 1)


async def test_places_that_come_back_wake_those_who_wait() -> None:
    """As many as there is room for now."""
    places = ResizableSemaphore(1)
    await places.acquire()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(places.acquire())
        await settle()
        places.resize(5)
    assert places.used == 5


async def test_a_place_that_comes_in_the_moment_of_a_cancellation_is_passed_on() -> None:
    """The one who was meant to have it is gone, the next gets it."""
    places = ResizableSemaphore(1)
    await places.acquire()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        first = group.create_task(places.acquire())
        group.create_task(places.acquire())
        await settle()
        places.release()
        first.cancel()
    assert first.cancelled()
    assert places.used == 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 5))
def test_no_place_is_ever_lost(seed: int, count: int) -> None:
    """Whoever is cancelled whenever, and however the number changes: in the end all places can be taken."""

    async def crowd(rng: Random) -> None:
        places = ResizableSemaphore(count)

        async def work() -> None:
            await places.acquire()
            try:
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                places.release()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(30)]
            for _ in range(60):
                rng.choice(tasks).cancel() if rng.random() < 0.4 else places.resize(rng.randrange(6))
                if rng.random() < 0.7:
                    await asyncio.sleep(0)
            places.resize(count)
        assert places.used == 0
        async with asyncio.timeout(1):
            for _ in range(count):
                await places.acquire()

    asyncio.run(crowd(Random(seed)))
