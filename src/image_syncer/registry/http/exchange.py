"""One request on one connection: sends it and awaits the head of the response, which may come before all is sent."""

import asyncio
from contextlib import aclosing
from functools import partial
from typing import Final

from image_syncer.errors import ProtocolError, StoreError, Unavailable
from image_syncer.registry.http.connect_errors import explain_break, explain_overdue
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.head import Head, NotHttp, take_head
from image_syncer.registry.http.io_threads import IoThreads, ThreadRefused
from image_syncer.registry.http.request_body import PIECE_BYTES, RequestBody, framed_chunks, in_pieces
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.settings import Limits
from image_syncer.structs import Struct

INFORMATIONAL: Final = 20
"""Heads with a 1xx status that are skipped before the response."""

_THREAD_BYTES: Final = 128 * 1024  # A smaller piece is sent sooner than a thread wakes up.
_SMALL_BODY_BYTES: Final = 64 * 1024  # Sent together with the head, in one system call.


class StaleConnection(Exception):
    """A pooled connection ended before it carried the request; no byte of a response arrived."""


class OutgoingRequest(Struct):
    """An encoded request. *until*, a time of the loop's clock, bounds a request whose body does not stream."""

    head: bytes
    body: bytes | RequestBody | None
    host: str
    tls: TlsPolicy
    until: float


class Exchange:
    """Sends *outgoing* over *connection*; to be used once."""

    def __init__(
        self,
        connection: Connection,
        outgoing: OutgoingRequest,
        scratch: memoryview,
        limits: Limits,
        threads: IoThreads,
    ) -> None:
        self._threads = threads
        self._turns = threads.turns(connection, outgoing.body.length if isinstance(outgoing.body, RequestBody) else 0)
        self._connection = connection
        self._outgoing = outgoing
        self._scratch = scratch
        self._stall_seconds = limits.stall_seconds
        self._loop = asyncio.get_running_loop()
        self._until, self._until_seconds = outgoing.until, limits.patience_seconds
        self._informational = 0
        self._early: Head | None = None
        connection.has_input = False  # Earlier input belonged to another request, or to the handshake.

    async def run(self) -> tuple[Head, bool]:
        """Return the head of the response, and whether the whole request was sent.

        Raises `StoreError`, the body's own errors, and `StaleConnection` if the request may be sent again.
        """
        body = self._outgoing.body
        if isinstance(body, bytes) and len(body) > _SMALL_BODY_BYTES:
            body = in_pieces(body)
        if isinstance(body, RequestBody):
            sent = await self._send_streamed(body)
        else:
            sent = await self._send_piece(memoryview(self._outgoing.head + (body or b"")))
        try:
            return self._early or await self._await_head(), sent
        except NotHttp:
            raise ProtocolError(f"{self._outgoing.host}: the response is not HTTP") from None
        except TimeoutError:
            raise self._timed_out() from None
        except OSError as error:
            if self._connection.is_used and not self._connection.received and not self._informational:
                raise StaleConnection from error
            raise self._broken(error) from None

    async def _send_streamed(self, body: RequestBody) -> bool:
        """Send the request with *body*; return False if a response or the end of the connection came first."""
        whole = body.whole
        if whole is not None and len(whole) == body.length and len(whole) <= _SMALL_BODY_BYTES:
            sent = await self._send_piece(memoryview(self._outgoing.head + whole))
        else:
            self._connection.watch()
            sent = await self._send_piece(memoryview(self._outgoing.head)) and await self._stream(body)
        # Time for the last piece to arrive, and for the response.
        self._until_seconds = 2 * self._stall_seconds
        self._until = self._loop.time() + self._until_seconds
        return sent

    async def _stream(self, body: RequestBody) -> bool:
        async with aclosing(framed_chunks(body)) as chunks:
            async for chunk in chunks:
                view = memoryview(chunk)
                if len(view) >= _THREAD_BYTES and not self._connection.has_input and self._turns.take():
                    view = await self._send_in_thread(view)
                for start in range(0, len(view), PIECE_BYTES):
                    if not await self._send_piece(view[start : start + PIECE_BYTES]):
                        return False
        return True

    async def _send_piece(self, piece: memoryview) -> bool:
        """Send *piece* within the stall time; return False if a response or the end of the connection came instead."""
        until = self._loop.time() + self._stall_seconds
        try:
            while piece:
                if self._connection.has_input and self._receive_early():
                    return False
                piece = await self._connection.send(piece, until)
        except TimeoutError:
            raise self._timed_out() from None
        except (OSError, NotHttp):
            return False  # A response that arrived before the break explains more than the break does.
        return True

    async def _send_in_thread(self, chunk: memoryview) -> memoryview:
        """Return the rest of *chunk* that the loop has to send: it can wait for the peer, and explain a break."""
        try:
            rest = await self._threads.run(self._connection, partial(self._connection.send_in_thread, chunk))
        except ThreadRefused:
            self._turns.stop()
            return chunk
        self._turns.note(whole=not rest)
        return rest

    def _receive_early(self) -> bool:
        """Read what arrived while sending; return whether that is a response, or the end of the connection."""
        is_open = self._connection.receive_available(self._scratch)
        self._early = self._next_head()
        return self._early is not None or not is_open

    async def _await_head(self) -> Head:
        """Return the head of the response: each part within the stall time, all of it within the time limit."""
        while (head := self._next_head()) is None:
            until = min(self._until, self._loop.time() + self._stall_seconds)
            if not await self._connection.receive_more(self._scratch, until):
                raise ConnectionAbortedError
        return head

    def _next_head(self) -> Head | None:
        """Return the head of the response if it has arrived, skipping informational ones (RFC 9110, 15.2)."""
        while (head := take_head(self._connection.received)) is not None:
            if not head.is_informational:
                return head
            self._informational += 1
            if self._informational > INFORMATIONAL:
                raise NotHttp
        return None

    def _timed_out(self) -> StoreError:
        if self._loop.time() >= self._until:
            return explain_overdue(self._outgoing.host, self._until_seconds)
        return Unavailable(f"{self._outgoing.host}: nothing was sent or received for {self._stall_seconds:g} s")

    def _broken(self, error: OSError) -> StoreError:
        return explain_break((error,), self._outgoing.host, self._outgoing.tls)
