"""Bandwidth limits: bodies wait for their turn, and the connection's flow control slows the peer down."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from image_syncer.registry.http.connection import Inspect
from image_syncer.registry.http.messages import Request, Response
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.transport_settings import Bandwidth, Direction
from image_syncer.roles import Chunk
from image_syncer.structs import replace

_BURST_SECONDS: Final = 0.25  # Unused time that later bytes may use.
_LEAST_PIECE: Final = 16 * 1024
_MOST_PIECE: Final = 1024 * 1024
_PIECES_PER_SECOND: Final = 4


class Throttle:
    """Spreads bytes over time as *bandwidth* says, in each direction, for all bodies together.

    Each piece reserves the time that it takes, and waits until the reservations before it are over. So bodies share the
    bandwidth in the order in which their pieces come.
    """

    def __init__(
        self,
        bandwidth: Bandwidth,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        minute: Callable[[], int] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bandwidth = bandwidth
        self._monotonic = monotonic
        self._minute = minute or _minute_of_day
        self._sleep = sleep
        self._free_at: dict[Direction, float] = {"up": 0.0, "down": 0.0}

    def rate(self, direction: Direction) -> int | None:
        """Return the bytes per second now; None without a limit."""
        return self._bandwidth.rate(direction, self._minute())

    async def wait(self, direction: Direction, count: int) -> None:
        """Wait until *count* bytes may go, or have come, in *direction*."""
        rate = self.rate(direction)
        if rate is None:
            return
        now = self._monotonic()
        begin = max(self._free_at[direction], now - _BURST_SECONDS)
        self._free_at[direction] = begin + count / rate
        if self._free_at[direction] > now:
            await self._sleep(self._free_at[direction] - now)


class ThrottledResponse(Response):
    """A response whose body arrives as fast as *throttles* allow."""

    def __init__(self, response: Response, request: Request, throttles: Sequence[Throttle]) -> None:
        super().__init__(request, response.status, response.headers, response.content_length)
        self._response = response
        self._throttles = throttles

    async def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:
        """Yield the body; while a chunk waits, no more is read."""
        async with aclosing(self._response.chunks(inspect)) as chunks:
            async for chunk in chunks:
                for throttle in self._throttles:
                    await throttle.wait("down", len(chunk))
                yield chunk

    async def release(self, *, failed: bool) -> None:
        """Release the response."""
        await self._response.release(failed=failed)


async def throttled_request(request: Request, throttles: Sequence[Throttle]) -> Request:
    """Return *request* with a body that is sent as fast as *throttles* allow; one in memory waits here."""
    body = request.body
    if isinstance(body, bytes) or (isinstance(body, RequestBody) and body.whole is not None):
        whole = body if isinstance(body, bytes) else body.whole or b""
        for throttle in throttles:
            await throttle.wait("up", len(whole))
    elif body is not None:
        return replace(request, body=replace(body, chunks=lambda: _throttled_chunks(body, throttles)))
    return request


async def _throttled_chunks(body: RequestBody, throttles: Sequence[Throttle]) -> AsyncGenerator[Chunk]:
    async with aclosing(body.chunks()) as chunks:
        async for chunk in chunks:
            view, start = memoryview(chunk), 0
            while start < len(view):
                piece = view[start : start + _piece_bytes(throttles)]
                for throttle in throttles:
                    await throttle.wait("up", len(piece))
                yield piece
                start += len(piece)


def _piece_bytes(throttles: Sequence[Throttle]) -> int:
    """Return how many bytes go at once: few enough that the connection is not idle for long."""
    rates = [rate for throttle in throttles if (rate := throttle.rate("up")) is not None]
    return max(_LEAST_PIECE, min(_MOST_PIECE, *(rate // _PIECES_PER_SECOND for rate in rates), _MOST_PIECE))


def _minute_of_day() -> int:
    """Return the minutes since midnight, local time."""
    local = time.localtime()
    return 60 * local.tm_hour + local.tm_min
