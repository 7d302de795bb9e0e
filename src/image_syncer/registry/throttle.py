"""How much may go on at one registry at once, and that it may make us pause.

Two kinds of places, taken in one global order, so that nobody waits in a circle:

1. an upload's place at the target, held for one attempt to push a blob;
2. a download's place at the source, held for one read; the upload above may hold its place meanwhile;
3. a request's place, held for one small request; whoever has it waits for the network alone.

So whoever reads a blob and wants to push must open the read inside the push (`Opener`), not the other way round.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from image_syncer.registry.options import Limits
from image_syncer.registry.retry import Clock


class Throttle:
    """The places of one registry. A wait for the next try holds none of them."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._clock = clock
        self._requests = asyncio.Semaphore(max(1, limits.requests_per_host))
        self._uploads = asyncio.Semaphore(max(1, limits.transfers))
        self._downloads = asyncio.Semaphore(max(1, limits.transfers))
        self._paused_until = float("-inf")

    def request(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one small request."""
        return self._place(self._requests)

    def upload(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one attempt to push a blob."""
        return self._place(self._uploads)

    def download(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one read of a blob."""
        return self._place(self._downloads)

    def pause(self, seconds: float) -> None:
        """Begin nothing more here for *seconds*; a longer pause that is already on stays."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    @asynccontextmanager
    async def _place(self, places: asyncio.Semaphore) -> AsyncGenerator[None]:
        while True:
            await self._pause_over()
            await places.acquire()
            if self._pause_left() <= 0:
                break
            places.release()  # The pause began while we stood in the queue: wait for its end without a place.
        try:
            yield
        finally:
            places.release()

    async def _pause_over(self) -> None:
        while (left := self._pause_left()) > 0:
            await self._clock.sleep(left)

    def _pause_left(self) -> float:
        return self._paused_until - self._clock.monotonic()
