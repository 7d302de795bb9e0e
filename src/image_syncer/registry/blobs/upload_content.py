"""Content on its way into requests: opened late, handed out in parts, opened again where a part must be repeated."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from image_syncer.errors import ContentMismatch
from image_syncer.registry.http.transport import RequestBody
from image_syncer.registry.limits.limiter import SMALL_BLOB_BYTES
from image_syncer.roles import Chunk, Opener


class NotOpenYet(Exception):
    """The content could not be opened within the time that a place may be held for it."""


class UploadContent:
    """Content as the bodies of requests, each of which may have to be sent anew within one exchange (after a 401).

    *failure* is what the content raised, None while it behaves; *opened* whether it could be opened at all; *at* the
    place in it up to which it was handed out. *opening_seconds* is how long opening may take, None for as long as it
    wants.
    """

    def __init__(self, content: Opener) -> None:
        self._content = content
        self._held = AsyncExitStack()
        self._stream: AsyncIterator[Chunk] | None = None
        self._rest: memoryview | None = None
        self._whole: bytes | None = None
        self.failure: Exception | None = None
        self.opened = False
        self.at = 0
        self.opening_seconds: float | None = None

    async def load(self, what: str) -> None:
        """Read the whole content of a small blob, so that its source is done with."""
        whole = bytearray()
        async with self._held:
            await self._reopen(0)
            async with aclosing(self._part(0, None)) as chunks:
                async for chunk in chunks:
                    whole += chunk
                    if len(whole) > SMALL_BLOB_BYTES:
                        self.failure = ContentMismatch(f"{what}: the source sends more than its size")
                        raise self.failure
        self._stream = None
        self._whole = bytes(whole)

    def forget(self) -> None:
        """Drop what was loaded: the next attempt reads anew."""
        self._whole = None

    @asynccontextmanager
    async def open(self, start: int) -> AsyncGenerator[None]:
        """Open the content before anything is sent, so that a source that is not there costs the target nothing."""
        async with self._held:
            if self._whole is None:
                await self._reopen(start)
            self.opening_seconds = None
            yield
        self._stream = None

    async def wait_for(self, start: int) -> None:
        """Wait until the content can be opened, and close it again; raises what opening it does."""
        self.opening_seconds = None
        async with self._held:
            await self._reopen(start)
        self._stream = None

    def body(self, start: int, length: int | None, *, last: bool) -> RequestBody:
        """Return *length* bytes from *start* on as a body. The *last* one has all that is left, so that more shows."""
        return RequestBody(partial(self._part, start, None if last else length), length)

    async def _part(self, start: int, length: int | None) -> AsyncGenerator[Chunk]:
        """Yield the content from *start* on: *length* bytes, or all that is left."""
        if self._whole is not None:
            yield self._whole
            return
        try:
            if self._stream is None or self.at != start:
                await self._reopen(start)
            end = None if length is None else start + length
            while end is None or self.at < end:
                piece = await self._next()
                if piece is None:
                    return
                wanted = piece if end is None else piece[: end - self.at]
                self._rest = piece[len(wanted) :] or None
                self.at += len(wanted)
                yield wanted
        except Exception as error:
            self.failure = error
            raise

    async def _next(self) -> memoryview | None:
        """Return what is left of the last chunk, or the next one; None at the end."""
        if self._rest is not None:
            return self._rest
        chunk = None if self._stream is None else await anext(self._stream, None)
        return None if chunk is None else memoryview(chunk)

    async def _reopen(self, start: int) -> None:
        self._stream, self._rest, self.at = None, None, start
        await self._held.aclose()  # First, since the old stream holds a place that the new one may need.
        self.failure, self.opened = None, False
        watch = asyncio.timeout(self.opening_seconds)
        try:
            async with watch:
                self._stream = await self._held.enter_async_context(self._content(start))
        except Exception as error:
            if isinstance(error, TimeoutError) and watch.expired():
                raise NotOpenYet from error
            self.failure = error
            raise
        self.opened = True
