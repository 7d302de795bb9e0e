"""Responses of our own HTTP client; their bodies are read straight from the socket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from image_syncer.errors import Unavailable
from image_syncer.registry.http.body import BrokenBody, ContentLengthFraming, framing_of
from image_syncer.registry.http.connection import Connection, Inspect
from image_syncer.registry.http.head import Head
from image_syncer.registry.http.io_threads import IoThreads, ThreadRefused
from image_syncer.registry.http.messages import Request, Response, StallTimer
from image_syncer.registry.http.pool import BufferPool, Pool, PoolKey
from image_syncer.roles import Chunk
from image_syncer.structs import Struct

_LEFTOVER_BYTES: Final = 64 * 1024  # An unread rest up to this size is read so that the connection can be reused.
_LEFTOVER_SECONDS: Final = 1.0


class BodilessResponse(Response):
    """A response without a body; it holds no connection."""

    def __init__(self, request: Request, head: Head) -> None:
        super().__init__(request, head.status, head.headers, head.length)

    async def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:  # noqa: ARG002 - of the base
        """Yield nothing."""
        for nothing in ():
            yield nothing

    async def release(self, *, failed: bool) -> None:
        """Do nothing: there is no connection to release."""


class Lease(Struct):
    """A connection and the pool that gets it back. *keep_alive*: request and response both allow its reuse."""

    connection: Connection
    key: PoolKey
    pool: Pool
    buffers: BufferPool
    threads: IoThreads
    keep_alive: bool


class StreamedResponse(BodilessResponse):
    """A response whose body is still on its connection. Each chunk is a view, valid until the next chunk."""

    def __init__(self, request: Request, head: Head, lease: Lease, stall_seconds: float) -> None:
        super().__init__(request, head)
        self._lease = lease
        self._stall_seconds = stall_seconds
        self._stall_timer = StallTimer(stall_seconds)
        self._loop = asyncio.get_running_loop()
        self._framing = framing_of(head, request.method)
        self._turns = lease.threads.turns(lease.connection, head.length)
        self._is_returned = False
        if self._framing.has_ended:
            self._return()

    async def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:
        """Yield the body as it arrives, not decoded; raises `Unavailable` if it breaks off or stalls."""
        if self._is_returned:
            return
        try:
            for piece in self._take_early():
                if inspect is not None:
                    inspect(piece)
                yield piece
            if not self._framing.has_ended:
                with self._lease.buffers.borrow(large=self._turns.may_use_threads) as buffer:
                    while not self._framing.has_ended:
                        for piece in await self._receive(buffer, inspect):
                            yield piece
        except TimeoutError:
            reason = f"the response stalled for {self._stall_seconds:g} s"
        except (OSError, BrokenBody):
            reason = "the response broke off"
        else:
            self._return()
            return
        self._return(broken=True)
        raise Unavailable(f"{self._request}: {reason}", status=self.status)

    async def release(self, *, failed: bool) -> None:
        """Return the connection to the pool if the rest of the body is small, otherwise close it."""
        try:
            small = self._lease.keep_alive and (self._content_length or 0) <= _LEFTOVER_BYTES
            if small and not failed and not self._is_returned:
                await self._skip_rest()
        finally:
            self._return()

    def _take_whole(self) -> bytes | None:
        """Return the whole body if it has arrived with its head; otherwise None."""
        length = self._content_length
        if length is None or len(self._lease.connection.received) < length or self._is_returned:
            return None
        whole = b"".join(self._take_early())
        self._return()
        return whole

    def _take_early(self) -> list[memoryview]:
        """Return the part of the body that arrived with its head."""
        early = self._lease.connection.received
        self._lease.connection.received = bytearray()
        return self._framing.feed(memoryview(early))

    async def _receive(self, buffer: memoryview, inspect: Inspect | None) -> list[memoryview]:
        """Return the next part of the body, in *buffer*, after *inspect* has received it."""
        wanted = buffer[: self._framing.wanted(len(buffer))]
        began = self._loop.time()
        count = None
        # The rest of a chunked body has an unknown size, and its framing is between the pieces.
        if isinstance(self._framing, ContentLengthFraming) and self._turns.take():
            count = await self._receive_in_thread(wanted, inspect)
        if count is None:
            count = await self._lease.connection.receive(wanted, began + self._stall_timer.remaining_seconds)
            pieces = self._framing.feed(wanted[:count])
            if inspect is not None:
                for piece in pieces:
                    inspect(piece)
        else:
            pieces = self._framing.feed(wanted[:count])
        self._stall_timer.record(count, self._loop.time() - began)
        if not count:
            self._framing.close()
        return pieces

    async def _receive_in_thread(self, wanted: memoryview, inspect: Inspect | None) -> int | None:
        """Return the number of bytes in *wanted*, which *inspect* has received; None if the loop has to wait."""
        connection = self._lease.connection
        try:
            count = await self._lease.threads.run(connection, lambda: connection.receive_in_thread(wanted, inspect))
        except ThreadRefused:
            self._turns.stop()
            return None
        self._turns.note(whole=count == len(wanted))
        return count

    async def _skip_rest(self) -> None:
        """Read the unread rest of a small body: only then can its connection be reused."""
        try:
            async with asyncio.timeout(_LEFTOVER_SECONDS), aclosing(self.chunks()) as chunks:
                size_bytes = 0
                async for chunk in chunks:
                    size_bytes += len(chunk)
                    if size_bytes > _LEFTOVER_BYTES:
                        return
        except (TimeoutError, Unavailable):
            return  # Only the connection is lost; the caller has what it needs.

    def _return(self, *, broken: bool = False) -> None:
        """Return the connection to the pool if its body was read to the end, otherwise close it. Acts once."""
        if self._is_returned:
            return
        self._is_returned = True
        lease = self._lease
        is_closed = lease.connection.is_closed  # While a thread read the end.
        whole = self._framing.has_ended and self._framing.is_clean and not lease.connection.received
        if whole and not is_closed and lease.keep_alive and not broken:
            lease.pool.put(lease.key, lease.connection)
        else:
            lease.connection.close()
