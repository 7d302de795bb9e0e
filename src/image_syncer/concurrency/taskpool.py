"""A bounded pool of tasks, a background task, and an orderly shutdown."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sized
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

from image_syncer.structs import Struct, field

Item = TypeVar("Item")


class Shutdown(Struct):
    """A request to end early. Once *requested* is set no work starts; running work has *drain_seconds* to finish.

    Setting *at_once* ends that time immediately.
    """

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    drain_seconds: float = 10.0
    at_once: asyncio.Event = field(default_factory=asyncio.Event)


async def for_each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, width: int, stop: Shutdown | None = None
) -> None:
    """Run *work* for every item, *width* at a time, in the order of *items*.

    The first exception of *work* cancels the others and comes out alone, not in a group. After a stop this returns
    early; *work* has to record which items it finished.
    """
    queue = iter(items)
    if isinstance(items, Sized) and stop is None:
        width = min(width, len(items))  # A task for each item at most, and none for a single one.
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
            if stop is None:  # The caller works, too: a run does this for each of its images.
                for number in range(1, width):
                    group.create_task(worker(), name=f"worker-{number}")
                await worker()
            else:
                workers = [group.create_task(worker(), name=f"worker-{number}") for number in range(width)]
                watcher = group.create_task(_cancel_after_drain(stop, workers), name="stop-watcher")
                await asyncio.wait(workers)
                watcher.cancel()
    except BaseExceptionGroup as group_error:
        raise first_of(cast("BaseException", group_error)) from None


def first_of(error: BaseException) -> BaseException:
    """Return the first exception inside (nested) exception groups, or *error* itself if it is not a group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return first_of(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run *work* in a task for as long as the context lasts. An exception comes out alone, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as group_error:
        raise first_of(cast("BaseException", group_error)) from None


async def _cancel_after_drain(stop: Shutdown, workers: list[asyncio.Task[None]]) -> None:
    await stop.requested.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(stop.drain_seconds):
            await stop.at_once.wait()
    for task in workers:
        task.cancel()
