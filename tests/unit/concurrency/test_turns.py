"""Turns: a bounded number at once, the most wanted first."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from image_syncer.concurrency.turns import PrioritySemaphore


async def test_the_most_wanted_goes_first() -> None:
    """What counts is how many want it when a place is free, not when it joined the queue."""
    turns, order = PrioritySemaphore(1), list[str]()
    weights = {"a": 9, "b": 1, "c": 1, "d": 5}
    gate = asyncio.Event()

    async def take(name: str) -> None:
        async with turns.turn(lambda: weights[name]):
            order.append(name)
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        for name in weights:
            group.create_task(take(name))
            await asyncio.sleep(0)
        weights["c"] = 7
        gate.set()
    assert order == ["a", "c", "d", "b"]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_no_place_is_lost(plan: list[tuple[int, bool]], width: int) -> None:
    """Whoever is cancelled, and whenever: never more than *width* at once, and all places are there in the end."""

    async def run() -> None:
        turns, inside, most = PrioritySemaphore(width), 0, 0

        async def take(pause: int) -> None:
            nonlocal inside, most
            async with turns.turn(lambda: pause):
                inside += 1
                most = max(most, inside)
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
        inside = 0  # Those who were cancelled inside did not count themselves out.
        assert most <= width + sum(cancelled for _, cancelled in plan)
        async with asyncio.timeout(5):
            await asyncio.gather(*(take(1) for _ in range(width)))
            assert inside == 0

    asyncio.run(run())
