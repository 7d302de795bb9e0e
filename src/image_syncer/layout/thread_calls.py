"""Disk access in threads, for the asynchronous roles."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


async def in_thread(
    work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **options: _Arguments.kwargs
) -> _Result:
    """Return the result of *work*, done in a thread.

    A cancelled caller waits until *work* has ended: otherwise it would close files, or release a lock, that *work*
    still uses.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # The caller is cancelled, so its failure concerns no caller.
        raise
