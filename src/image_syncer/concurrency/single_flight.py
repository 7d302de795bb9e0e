"""Single flight: concurrent callers for the same key share one run of the work."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """Runs the work for a key once at a time; concurrent callers wait for the running call and get its result.

    *keep* remembers results, so that later callers get them too. *share_failures* gives a failure to all waiting
    callers; without it each of them tries again itself, one after the other. A failure or a cancelled call is never
    kept: when the running caller is cancelled, one of the waiting callers runs its own work instead.

    A waiting caller waits as long as the running work takes, so work needs a time limit of its own. Work must not ask
    for the same key again: it would wait for itself.
    """

    def __init__(self, *, keep: bool = False, share_failures: bool = True) -> None:
        self._keep = keep
        self._share_failures = share_failures
        self._running: dict[Key, asyncio.Future[Value]] = {}
        self._kept: dict[Key, Value] = {}

    def forget(self, key: Key) -> None:
        """Drop the kept result for *key*, so that the next caller runs its work."""
        self._kept.pop(key, None)

    async def do(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Return the kept result for *key*, that of the running call, or that of *work*."""
        while key not in self._kept:
            running = self._running.get(key)
            if running is None:
                return await self._run(key, work)
            await asyncio.wait([running])  # Awaiting the future itself would cancel it together with this caller.
            if running.cancelled():
                continue
            failure = running.exception()
            if failure is None:
                return running.result()
            if self._share_failures:
                raise failure
        return self._kept[key]

    async def _run(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        try:
            value = await work()
        except Exception as failure:
            future.set_exception(failure)
            future.exception()  # Marks it as retrieved: there may be no waiting caller to do so.
            raise
        else:
            if self._keep:
                self._kept[key] = value
            future.set_result(value)
            return value
        finally:
            future.cancel()  # Has an effect only if this caller was cancelled; then a waiting caller takes over.
            del self._running[key]
