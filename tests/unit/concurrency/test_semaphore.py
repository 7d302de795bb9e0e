"""Semaphores: no slot is lost, and the order holds."""

import asyncio
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.concurrency.semaphore import PrioritySemaphore, ResizableSemaphore


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_go_out_in_the_order_of_arrival() -> None:
    """First come, first served, also when a task arrives at the moment that a slot becomes free."""
    slots, order = ResizableSemaphore(1), list[int]()

    async def work(number: int) -> None:
        await slots.acquire()
        order.append(number)
        await asyncio.sleep(0)
        slots.release()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work(number))
    assert order == list(range(20))
    assert slots.used == 0


async def test_shrinking_below_the_used_slots_interrupts_no_task() -> None:
    """Three slots are taken and one remains: a waiting task gets in with the third release."""
    slots, inside = ResizableSemaphore(3), list[str]()
    for _ in range(3):
        await slots.acquire()
    slots.resize(1)

    async def enter() -> None:
        await slots.acquire()
        inside.append("in")

    async with asyncio.TaskGroup() as group:
        group.create_task(enter())
        for _ in range(2):
            slots.release()
            await settle()
            assert not inside
        slots.release()
    assert (inside, slots.used) == (["in"], 1)


async def test_growing_wakes_waiting_tasks() -> None:
    """As many as there are slots now."""
    slots = ResizableSemaphore(1)
    await slots.acquire()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(slots.acquire())
        await settle()
        slots.resize(5)
    assert slots.used == 5


async def test_a_slot_granted_to_a_cancelled_task_is_passed_on() -> None:
    """The next waiting task gets it."""
    slots = ResizableSemaphore(1)
    await slots.acquire()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        first = group.create_task(slots.acquire())
        group.create_task(slots.acquire())
        await settle()
        slots.release()
        first.cancel()
    assert first.cancelled()
    assert slots.used == 1


@given(seed=st.integers(0, 2**32), count=st.integers(1, 5))
def test_cancelling_and_resizing_lose_no_slot(seed: int, count: int) -> None:
    """Whichever tasks are cancelled at whatever moment, in the end all slots can be taken."""

    async def crowd(rng: Random) -> None:
        slots = ResizableSemaphore(count)

        async def work() -> None:
            await slots.acquire()
            try:
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                slots.release()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(30)]
            for _ in range(60):
                rng.choice(tasks).cancel() if rng.random() < 0.4 else slots.resize(rng.randrange(6))
                if rng.random() < 0.7:
                    await asyncio.sleep(0)
            slots.resize(count)
        assert slots.used == 0
        async with asyncio.timeout(1):
            for _ in range(count):
                await slots.acquire()

    asyncio.run(crowd(Random(seed)))


async def test_a_free_slot_goes_to_the_highest_priority() -> None:
    """The priority at the moment when the slot becomes free counts, not the one at arrival."""
    semaphore, order = PrioritySemaphore(1), list[str]()
    priorities = {"a": 9, "b": 1, "c": 1, "d": 5}
    gate = asyncio.Event()

    async def take(name: str) -> None:
        async with semaphore.slot(lambda: priorities[name]):
            order.append(name)
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        for name in priorities:
            group.create_task(take(name))
            await asyncio.sleep(0)
        priorities["c"] = 7
        gate.set()
    assert order == ["a", "c", "d", "b"]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.integers(1, 4))
def test_cancelling_loses_no_priority_slot(plan: list[tuple[int, bool]], slots: int) -> None:
    """Whichever tasks are cancelled: never more than *slots* hold one, and in the end all can be taken."""

    async def run() -> None:
        semaphore, inside, highest = PrioritySemaphore(slots), 0, 0

        async def take(pause: int) -> None:
            nonlocal inside, highest
            async with semaphore.slot(lambda: pause):
                inside += 1
                highest = max(highest, inside)
                for _ in range(pause):
                    await asyncio.sleep(0)
                inside -= 1

        tasks = [asyncio.ensure_future(take(pause)) for pause, _ in plan]
        await asyncio.sleep(0)
        for task, (_, cancelled) in zip(tasks, plan, strict=True):
            if cancelled:
                task.cancel()
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        inside = 0  # Tasks that were cancelled inside did not decrement it.
        assert highest <= slots + sum(cancelled for _, cancelled in plan)
        async with asyncio.timeout(5):
            await asyncio.gather(*(take(1) for _ in range(slots)))
            assert inside == 0

    asyncio.run(run())
