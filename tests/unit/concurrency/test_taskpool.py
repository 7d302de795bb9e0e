"""Workers: bounded width, the first failure alone, and a stop that drains."""

import asyncio

import pytest

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import Unavailable


@pytest.mark.parametrize("width", [1, 3, 50])
async def test_everything_is_done_and_never_more_than_the_width_at_once(width: int) -> None:
    """Each item once, in bounded concurrency."""
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
    """Not wrapped in a group, also from nested work; nothing is left running."""

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


async def test_a_stop_begins_nothing_new_and_lets_what_runs_finish() -> None:
    """The drain is not a cancellation."""
    stop = Shutdown(drain_seconds=30)
    done: list[int] = []

    async def work(item: int) -> None:
        stop.requested.set()
        await asyncio.sleep(0)
        done.append(item)

    await for_each(range(100), work, width=2, stop=stop)
    assert done == [0]


async def test_what_does_not_finish_in_time_is_cancelled() -> None:
    """A stop never hangs."""
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
