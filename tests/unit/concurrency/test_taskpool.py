"""The task pool: bounded concurrency, the first failure alone, and a shutdown that drains."""

import asyncio

import pytest

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import Unavailable


@pytest.mark.parametrize("width", [1, 3, 50])
async def test_all_items_are_worked_on_within_the_width(width: int) -> None:
    """Each item once, and never more than *width* at a time."""
    running = highest = 0
    done: list[int] = []

    async def work(item: int) -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    await for_each(range(20), work, width=width)
    assert (sorted(done), highest) == (list(range(20)), min(width, 20))


async def test_the_first_failure_comes_out_alone() -> None:
    """It is not wrapped in a group, also from a nested pool, and no task is left running."""

    async def inner(item: int) -> None:
        await asyncio.sleep(0)
        if item == 2:
            raise Unavailable("down")
        await asyncio.Event().wait()

    async def outer(_: int) -> None:
        await for_each(range(4), inner, width=4)

    with pytest.raises(Unavailable):
        await for_each([1], outer, width=1)
    assert len(asyncio.all_tasks()) == 1


async def test_a_stop_starts_no_work_and_lets_running_work_finish() -> None:
    """Running work is not cancelled within the drain time."""
    stop = Shutdown(drain_seconds=30)
    done: list[int] = []

    async def work(item: int) -> None:
        stop.requested.set()
        await asyncio.sleep(0)
        done.append(item)

    await for_each(range(100), work, width=2, stop=stop)
    assert done == [0]


async def test_work_that_outlasts_the_drain_time_is_cancelled() -> None:
    """A stop always ends."""
    stop = Shutdown(drain_seconds=0)
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            stop.requested.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    await for_each(range(3), work, width=3, stop=stop)
    assert cancelled == [0, 1, 2]


async def test_a_list_gets_at_most_one_task_for_each_item() -> None:
    """A single item runs in the task of the caller."""
    seen: list[asyncio.Task[None] | None] = []

    async def work(_: int) -> None:
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    await for_each([1], work, width=16)
    assert seen == [asyncio.current_task()]
    before = len(asyncio.all_tasks())

    async def count(_: int) -> None:
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) - before <= 2

    await for_each([1, 2], count, width=16)
    await for_each([], count, width=16)
