"""The content of an upload as request bodies: opened late, sent in parts, and opened again to repeat a part."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from functools import partial

from image_syncer.errors import ContentMismatch
from image_syncer.registry.http.transport import RequestBody
from image_syncer.registry.limits.limiter import SMALL_BLOB_BYTES
from image_syncer.roles import Chunk, Opener


class NotOpenYet(Exception):
    """The content did not open within the time for which an upload slot may be held."""


class UploadContent:
    """Content as request bodies. A body can be sent again, for example after a 401.

    *failure* is the exception that reading the content raised, None without one; *was_opened* whether opening it
    succeeded; *position* the offset up to which it was read; *was_sent* whether anything of the last body was, so that
    a connection existed. *opening_seconds* limits how long opening may take, None
    for no limit.
    """

    def __init__(self, content: Opener) -> None:
        self._content = content
        self._opened = AsyncExitStack()
        self._is_open = False
        self._stream: AsyncIterator[Chunk] | None = None
        self._rest: memoryview | None = None
        self._whole: bytes | None = None
        self._early_error: Exception | None = None
        self.failure: Exception | None = None
        self.was_opened = False
        self.was_sent = False
        self.position = 0
        self.opening_seconds: float | None = None

    async def load(self, what: str) -> None:
        """Read the whole content of a small blob into memory, so that its source can be closed."""
        whole = bytearray()
        async with self._opened:
            await self._reopen(0)
            async with aclosing(self._part(0, None)) as chunks:
                async for chunk in chunks:
                    whole += chunk
                    if len(whole) > SMALL_BLOB_BYTES:
                        self.failure = ContentMismatch(f"{what}: the source sends more than its size")
                        raise self.failure
        self._stream = None
        self._whole = bytes(whole)

    async def open(self, start: int) -> None:
        """Open the content at *start*, unless it is open. Done before sending: a missing source costs no request."""
        if self._is_open:
            return
        if self._early_error is not None:
            error, self._early_error = self._early_error, None
            raise error
        if self._whole is None:
            await self._reopen(start)
        self.opening_seconds = None
        self._is_open = True

    async def open_early(self, start: int) -> None:
        """Open the content at *start* while the target still opens its upload; the next `open` raises any failure."""
        try:
            await self.open(start)
        except Exception as error:  # noqa: BLE001 - `open` raises it where the caller expects it
            self._early_error = error

    async def close(self) -> None:
        """Close the content; it can be opened again."""
        self._is_open, self._stream, self._rest, self._early_error = False, None, None, None
        await self._opened.aclose()

    def forget(self) -> None:
        """Drop what `load` has read: the next attempt reads it again."""
        self._whole = None

    async def wait_for(self, start: int) -> None:
        """Wait until the content can be opened, and close it again; raises what opening it raises."""
        self.opening_seconds = None
        async with self._opened:
            await self._reopen(start)
        self._stream = None

    def body(self, start: int, length: int | None, *, last: bool, at_once: bool = False) -> RequestBody:
        """Return *length* bytes from *start* on as a body. The *last* body has all that remain, to detect a surplus.

        With *at_once* what `load` has read may go out with the head; then *was_sent* is true from now on.
        """
        whole = self._whole if at_once else None
        self.was_sent = whole is not None
        return RequestBody(partial(self._part, start, None if last else length), length, whole)

    async def _part(self, start: int, length: int | None) -> AsyncGenerator[Chunk]:
        """Yield the content from *start* on: *length* bytes, or all that remain."""
        self.was_sent = True
        if self._whole is not None:
            yield self._whole
            return
        try:
            if self._stream is None or self.position != start:
                await self._reopen(start)
            end = None if length is None else start + length
            while end is None or self.position < end:
                piece = await self._next()
                if piece is None:
                    return
                wanted = piece if end is None else piece[: end - self.position]
                self._rest = piece[len(wanted) :] or None
                self.position += len(wanted)
                yield wanted
        except Exception as error:
            self.failure = error
            raise

    async def _next(self) -> memoryview | None:
        """Return the rest of the last chunk, or the next chunk; None at the end."""
        if self._rest is not None:
            return self._rest
        chunk = None if self._stream is None else await anext(self._stream, None)
        return None if chunk is None else memoryview(chunk)

    async def _reopen(self, start: int) -> None:
        self._stream, self._rest, self.position = None, None, start
        await self._opened.aclose()  # First: the old stream holds a download slot that the new one may need.
        self.failure, self.was_opened = None, False
        watch = asyncio.timeout(self.opening_seconds)
        try:
            async with watch:
                self._stream = await self._opened.enter_async_context(self._content(start))
        except Exception as error:
            if isinstance(error, TimeoutError) and watch.expired():
                raise NotOpenYet from error
            self.failure = error
            raise
        self.was_opened = True
