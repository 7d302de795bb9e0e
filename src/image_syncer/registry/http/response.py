"""Answers that arrive on our own connections, their bodies read straight from the socket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from image_syncer.errors import Unavailable
from image_syncer.registry.http.body import BrokenBody, framing_of
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.head import Head
from image_syncer.registry.http.messages import Request, Response, StallTimer
from image_syncer.registry.http.pool import BufferPool, Pool, PoolKey
from image_syncer.roles import Chunk

_LEFTOVER_BYTES: Final = 64 * 1024  # What is read of an unwanted body to save its connection ...
_LEFTOVER_SECONDS: Final = 1.0  # ... and how long that may take.


class BodilessResponse(Response):
    """An answer without a body: all of it is in its head, and its connection is no longer needed."""

    def __init__(self, request: Request, head: Head) -> None:
        super().__init__(request, head.status, head.headers, head.length)

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield nothing."""
        for nothing in ():
            yield nothing

    async def release(self, *, failed: bool) -> None:
        """Let go of the answer; *failed* where whoever had it did not come to an end with it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection with where it goes afterwards. *lasting*: it may serve again, by all that both sides have said."""

    connection: Connection
    key: PoolKey
    pool: Pool
    buffers: BufferPool
    lasting: bool


class StreamedResponse(BodilessResponse):
    """An answer whose body is still on its connection. Chunks are views of one buffer: valid until the next one."""

    def __init__(self, request: Request, head: Head, held: Lease, stall_seconds: float) -> None:
        super().__init__(request, head)
        self._held = held
        self._stall_seconds = stall_seconds
        self._flow = StallTimer(stall_seconds)
        self._loop = asyncio.get_running_loop()
        self._framing = framing_of(head, request.method)
        self._is_settled = False
        if self._framing.has_ended:
            self._settle()

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the body as it comes, undecoded; `Unavailable` where it breaks off, or stalls for too long."""
        if self._is_settled:
            return
        try:
            for piece in self._take_early():
                yield piece
            if not self._framing.has_ended:
                with self._held.buffers.borrow() as buffer:
                    while not self._framing.has_ended:
                        for piece in await self._receive(buffer):
                            yield piece
        except TimeoutError:
            reason = f"the answer stalled for {self._stall_seconds:g} s"
        except (OSError, BrokenBody):
            reason = "the answer broke off"
        else:
            self._settle()
            return
        self._settle(broken=True)
        raise Unavailable(f"{self._request}: {reason}", status=self.status)

    async def release(self, *, failed: bool) -> None:
        """Save the connection where the rest of the body is small, otherwise close it."""
        try:
            small = self._held.lasting and (self._content_length or 0) <= _LEFTOVER_BYTES
            if small and not failed and not self._is_settled:
                await self._skip_rest()
        finally:
            self._settle()

    def _take_early(self) -> list[memoryview]:
        """Return what of the body came with its head."""
        early = self._held.connection.received
        self._held.connection.received = bytearray()
        return self._framing.feed(memoryview(early))

    async def _receive(self, buffer: memoryview) -> list[memoryview]:
        """Return what of the body comes next, in *buffer*."""
        wanted = buffer[: self._framing.wanted(len(buffer))]
        began = self._loop.time()
        count = await self._held.connection.receive(wanted, began + self._flow.remaining_seconds)
        self._flow.record(count, self._loop.time() - began)
        if not count:
            self._framing.close()
        return self._framing.feed(wanted[:count])

    async def _skip_rest(self) -> None:
        """Read the rest of a small body that nobody wanted, since only then its connection can serve again."""
        try:
            async with asyncio.timeout(_LEFTOVER_SECONDS), aclosing(self.chunks()) as chunks:
                size_bytes = 0
                async for chunk in chunks:
                    size_bytes += len(chunk)
                    if size_bytes > _LEFTOVER_BYTES:
                        return
        except (TimeoutError, Unavailable):
            return  # The answer is known already; all that is lost is the connection.

    def _settle(self, *, broken: bool = False) -> None:
        """Give the connection back where the body has been read to its very end, otherwise close it; once."""
        if self._is_settled:
            return
        self._is_settled = True
        held = self._held
        whole = self._framing.has_ended and self._framing.is_clean and not held.connection.received
        if whole and held.lasting and not broken:
            held.pool.put(held.key, held.connection)
        else:
            held.connection.close()
