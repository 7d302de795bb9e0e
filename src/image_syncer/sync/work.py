"""Working off many things with a few workers, and stopping in an orderly way."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar, cast

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Stop:
    """A wish to end early. Once *requested* is set nothing new is begun; what runs has *drain_seconds* to finish."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    drain_seconds: float = 10.0


async def work_off(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, width: int, stop: Stop | None = None
) -> None:
    """Run *work* for every item, *width* at a time, in their order.

    The first exception of *work* ends the others and comes out alone, not as a group. After a stop this returns early:
    which items were done is for *work* to record.
    """
    queue = iter(items)
    if width <= 1 and stop is None:
        for item in queue:
            await work(item)
        return

    async def worker() -> None:
        for item in queue:
            if stop is not None and stop.requested.is_set():
                return
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(worker(), name=f"worker-{number}") for number in range(width)]
            if stop is not None:
                watcher = group.create_task(_cancel_when_due(stop, workers), name="stop-watcher")
                await asyncio.wait(workers)
                watcher.cancel()
    except BaseExceptionGroup as group_error:
        raise first_of(cast("BaseException", group_error)) from None


def first_of(error: BaseException) -> BaseException:
    """Return the first real exception inside (nested) exception groups, *error* itself if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return first_of(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])


async def _cancel_when_due(stop: Stop, workers: list[asyncio.Task[None]]) -> None:
    await stop.requested.wait()
    await asyncio.sleep(stop.drain_seconds)
    for task in workers:
        task.cancel()
