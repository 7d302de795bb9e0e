"""Request bodies: sent in pieces, watched for stalls; their errors are kept apart from the connection's."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Self

from image_syncer.errors import ContentMismatch
from image_syncer.roles import Chunk
from image_syncer.structs import Struct

PIECE_BYTES: Final = (
    1024 * 1024
)  # One piece must be sent within the stall time: at least 17 KiB/s at the default of 60 s.


class RequestBody(Struct):
    """A streaming body: *chunks* is opened once per send; *length* in bytes, None for chunked transfer encoding.

    *whole* is the same content where it is in memory, so that a short one goes out together with the head.
    """

    chunks: Callable[[], AsyncGenerator[Chunk]]
    length: int | None
    whole: bytes | None = None


async def checked_chunks(body: RequestBody) -> AsyncGenerator[Chunk]:
    """Yield the non-empty chunks of *body*; raises `ContentMismatch` if their total differs from its length."""
    sent_bytes = 0
    async with aclosing(body.chunks()) as chunks:
        async for chunk in chunks:
            sent_bytes += len(chunk)
            if body.length is not None and sent_bytes > body.length:
                raise ContentMismatch(f"a body is longer than its {body.length} bytes")
            if chunk:
                yield chunk
    if body.length is not None and sent_bytes != body.length:
        raise ContentMismatch(f"a body ended after {sent_bytes} of its {body.length} bytes")


async def framed_chunks(body: RequestBody) -> AsyncGenerator[Chunk]:
    """Yield *body* as it is sent: its chunks or, without a length, in the chunked transfer coding (RFC 9112, 7.1)."""
    async with aclosing(checked_chunks(body)) as chunks:
        async for chunk in chunks:
            if body.length is None:
                yield b"%x\r\n" % len(chunk)
            yield chunk
            if body.length is None:
                yield b"\r\n"
    if body.length is None:
        yield b"0\r\n\r\n"


def in_pieces(content: bytes) -> RequestBody:
    """Return *content* as a body of pieces, so that a stall is noticed while it is sent."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]

    return RequestBody(chunks, len(content))


class BodyReader:
    """An async iterator over a body, for the HTTP library, which reads it in a task of its own.

    *length* in bytes is None if it is unknown. *failure* is the exception that the body raised, None without one. Each
    piece that was sent extends the deadline of `watch`; there is no deadline while the body itself is slow, since that
    is no fault of this connection.
    """

    def __init__(self, body: RequestBody, stall_seconds: float) -> None:
        self.failure: Exception | None = None
        self._chunks = checked_chunks(body)
        self.length = body.length
        self._stall_seconds = stall_seconds
        self._watch: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._rest = memoryview(b"")

    def watch(self, watch: asyncio.Timeout | None) -> None:
        """Extend the deadline of *watch* from now on; None once the response, with its own limit, has begun."""
        self._watch = watch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._idle.clear()
        try:
            return await self._next_piece()
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._idle.set()

    async def close(self) -> None:
        """Close the body, after the library has finished its current read."""
        async with asyncio.timeout(self._stall_seconds):
            await self._idle.wait()
            await self._chunks.aclose()

    async def _next_piece(self) -> bytes:
        if self._rest:
            piece = bytes(self._rest[:PIECE_BYTES])
            self._rest = self._rest[PIECE_BYTES:]
        else:
            piece = await self._next_chunk()
        self._set_deadline(self._stall_seconds)
        return piece

    async def _next_chunk(self) -> bytes:
        self._set_deadline(None)
        async for chunk in self._chunks:
            # The library may keep what it writes, but a chunk is valid only until the next one: copy all but bytes.
            if len(chunk) <= PIECE_BYTES:
                return chunk if isinstance(chunk, bytes) else bytes(chunk)
            view = memoryview(chunk)
            self._rest = view[PIECE_BYTES:]
            return bytes(view[:PIECE_BYTES])
        # Time for the last piece to be sent; the library's own read timeout covers the response.
        self._set_deadline(2 * self._stall_seconds)
        raise StopAsyncIteration

    def _set_deadline(self, seconds: float | None) -> None:
        if self._watch is not None and not self._watch.expired():
            self._watch.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)
