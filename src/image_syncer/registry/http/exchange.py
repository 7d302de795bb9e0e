"""One request on one connection: sent, and its answer's head awaited, which may come before all is sent."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from image_syncer.errors import ProtocolError, StoreError, Unavailable
from image_syncer.registry.http.connect_errors import explain_break, explain_overdue
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.head import Head, NotHttp, take_head
from image_syncer.registry.http.request_body import PIECE_BYTES, RequestBody, checked_chunks, in_pieces
from image_syncer.registry.settings import Limits

INFORMATIONAL: Final = 20
"""How many heads with a 1xx status are passed over before an answer."""

_SMALL_BODY_BYTES: Final = 64 * 1024  # Goes out with the head, in one piece.


class StaleConnection(Exception):
    """A connection that was kept had ended before it could carry the request; nothing of an answer came."""


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request as it goes out. *until* (on the loop's clock) bounds a request whose body does not stream."""

    head: bytes
    body: bytes | RequestBody | None
    host: str
    until: float


class Exchange:
    """Carries *message* over *connection*; to be used once."""

    def __init__(self, connection: Connection, message: OutgoingRequest, scratch: memoryview, limits: Limits) -> None:
        self._connection = connection
        self._message = message
        self._scratch = scratch
        self._stall_seconds = limits.stall_seconds
        self._loop = asyncio.get_running_loop()
        self._until, self._until_seconds = message.until, limits.patience_seconds
        self._informational = 0
        self._early: Head | None = None
        connection.has_input = False  # Whatever it was belonged to an earlier request, or to the handshake.

    async def run(self) -> tuple[Head, bool]:
        """Return the answer's head, and whether everything was sent.

        Raises `StoreError`, what the body raises, and `Stale` where the request may be sent again.
        """
        sent = await self._send()
        try:
            return self._early or await self._answer(), sent
        except NotHttp:
            raise ProtocolError(f"{self._message.host}: the answer is not HTTP") from None
        except TimeoutError:
            raise self._stalled() from None
        except OSError as error:
            if self._connection.is_used and not self._connection.received and not self._informational:
                raise StaleConnection from error
            raise self._broken(error) from None

    async def _send(self) -> bool:
        """Send the request and return whether all of it went out, or an answer or the end came first."""
        body = self._message.body
        if isinstance(body, bytes) and len(body) > _SMALL_BODY_BYTES:
            body = in_pieces(body)
        if not isinstance(body, RequestBody):
            return await self._pass(memoryview(self._message.head + (body or b"")))
        self._connection.watch()
        sent = await self._pass(memoryview(self._message.head)) and await self._stream(body)
        # The last piece has to pass, and the answer must come.
        self._until_seconds = 2 * self._stall_seconds
        self._until = self._loop.time() + self._until_seconds
        return sent

    async def _stream(self, body: RequestBody) -> bool:
        async with aclosing(checked_chunks(body)) as chunks:
            async for chunk in chunks:
                view = memoryview(chunk)
                for start in range(0, len(view), PIECE_BYTES):
                    if not await self._pass(view[start : start + PIECE_BYTES]):
                        return False
        return True

    async def _pass(self, piece: memoryview) -> bool:
        """Send *piece* within the stall time; False where an answer came instead, or the connection ended."""
        until = self._loop.time() + self._stall_seconds
        try:
            while piece:
                if self._connection.has_input and self._has_answered():
                    return False
                piece = await self._connection.send(piece, until)
        except TimeoutError:
            raise self._stalled() from None
        except (OSError, NotHttp):
            return False  # What the other side said before it hung up tells more than that it did.
        return True

    def _has_answered(self) -> bool:
        """Whether the answer, or the end, has come while we are still sending."""
        goes_on = self._connection.receive_available(self._scratch)
        self._early = self._next_head()
        return self._early is not None or not goes_on

    async def _answer(self) -> Head:
        """Return the head of the answer: every part of it within the stall time, all of it within the patience."""
        while (head := self._next_head()) is None:
            until = min(self._until, self._loop.time() + self._stall_seconds)
            if not await self._connection.receive_more(self._scratch, until):
                raise ConnectionAbortedError
        return head

    def _next_head(self) -> Head | None:
        """Return the answer's head if it is there, passing over informational ones (RFC 9110, 15.2)."""
        while (head := take_head(self._connection.received)) is not None:
            if not head.is_informational:
                return head
            self._informational += 1
            if self._informational > INFORMATIONAL:
                raise NotHttp
        return None

    def _stalled(self) -> StoreError:
        if self._loop.time() >= self._until:
            return explain_overdue(self._message.host, self._until_seconds)
        return Unavailable(f"{self._message.host}: nothing was sent or received for {self._stall_seconds:g} s")

    def _broken(self, error: OSError) -> StoreError:
        return explain_break((error,), self._message.host)
