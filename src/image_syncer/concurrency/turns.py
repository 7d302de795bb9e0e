"""Turns: so many at once, and the one for which most are waiting goes first."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class PrioritySemaphore:
    """Lets *width* go on at once."""

    def __init__(self, width: int) -> None:
        self._free = max(1, width)
        self._waiting: dict[asyncio.Future[None], Callable[[], int]] = {}

    @asynccontextmanager
    async def turn(self, weight: Callable[[], int]) -> AsyncGenerator[None]:
        """Hold a place; where many want one the greatest *weight* at that moment gets it, then who came first."""
        await self._take(weight)
        try:
            yield
        finally:
            self._free += 1
            self._call_next()

    async def _take(self, weight: Callable[[], int]) -> None:
        if self._free > 0:
            self._free -= 1
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[called] = weight
        try:
            await called
        except asyncio.CancelledError:
            if self._waiting.pop(called, None) is None and not called.cancelled():
                self._free += 1  # The place was ours already.
                self._call_next()
            raise

    def _call_next(self) -> None:
        while self._free > 0 and self._waiting:
            called = max(self._waiting, key=lambda future: self._waiting[future]())
            del self._waiting[called]
            if not called.cancelled():
                self._free -= 1
                called.set_result(None)
