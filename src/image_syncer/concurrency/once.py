"""Doing a thing once, whoever asks for it, and however many ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """Runs the work for each key once and keeps its result; who comes later, or meanwhile, gets that.

    Work that fails or is cancelled leaves nothing behind. Who waited for it then tries himself, one after the other, or
    shares the failure if *share_failures* (the work of all is the same, so it would fail for all).
    """

    def __init__(self, *, share_failures: bool) -> None:
        self._share_failures = share_failures
        self._running: dict[Key, asyncio.Future[Value]] = {}
        self._done: dict[Key, Value] = {}

    def known(self, key: Key) -> Value | None:
        """Return the result that is already there for *key*, None if there is none."""
        return self._done.get(key)

    def forget(self, key: Key) -> None:
        """Drop the result for *key*, so that the next who asks does the work again."""
        self._done.pop(key, None)

    async def do(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Return the result for *key*, running *work* if nobody has."""
        while key not in self._done:
            running = self._running.get(key)
            if running is None:
                return await self._lead(key, work)
            await asyncio.wait([running])  # Not awaited itself: cancelling us must not cancel the leader's future.
            if running.cancelled():
                continue
            failure = running.exception()
            if failure is None:
                return running.result()
            if self._share_failures:
                raise failure
        return self._done[key]

    async def _lead(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        try:
            value = await work()
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as failure:
            future.set_exception(failure)
            future.exception()  # Marks it as seen: nobody need have waited.
            raise
        else:
            self._done[key] = value
            future.set_result(value)
            return value
        finally:
            del self._running[key]
