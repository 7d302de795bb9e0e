"""Run an async context manager in its own thread and event loop, for code that is not async."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_STOP_SECONDS = 15.0


@contextmanager
def open_in_thread(opening: AbstractAsyncContextManager[T]) -> Generator[T]:
    """Enter *opening* in a new thread's loop, yield its value, and leave it at the end."""
    opened: Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def hold() -> None:
        async with opening as value:
            stop = asyncio.Event()
            opened.set_result((value, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    thread = Thread(target=run, name="open_in_thread", daemon=True)
    thread.start()
    value, loop, stop = opened.result(_STOP_SECONDS)
    try:
        yield value
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            raise RuntimeError(f"still running {_STOP_SECONDS} s after it was asked to stop")
