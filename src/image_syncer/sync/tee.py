"""One read of a source blob for several uploads, through a bounded window.

The slowest upload sets the pace within bounds. An upload that delays the others for too long falls behind: it leaves
the shared read and continues with a read of its own. An upload that ends early does not affect the others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial

from image_syncer.concurrency.taskpool import background
from image_syncer.errors import StoreError, Unavailable
from image_syncer.roles import Chunk, Opener
from image_syncer.structs import Struct


class LagPolicy(Struct):
    """How far apart readers may be, and how long one may delay the others; sizes in bytes, durations in seconds.

    A reader falls behind once the others wait *stall* for one chunk, or once all waits for it exceed *sum* plus the
    fraction *share* of the time since the read began. So a reader costs the others at most that fraction of their time.
    """

    window_bytes: int = 2 * 1024 * 1024
    stall: float = 3.0
    sum: float = 2.0
    share: float = 0.25


Alone = Callable[[int], AbstractAsyncContextManager[None]]
"""Provides the slot in which a reader, given by its number, may read alone after it left the shared read."""


class SharedRead:
    """The content that *content* opens, for *readers* readers, which are numbered from 0.

    Each reader enters `reading` and opens the content there. The members do the reading themselves: one of them holds
    the pump, and if it leaves, another continues from the same byte. So no reader depends on a task of another one.

    After a failure of the source, readers that open the content again share the next read. A reader reads alone, within
    *alone*, if it opens the content from the middle, opens it twice, or has fallen behind; *fell_behind* receives its
    number then.
    """

    def __init__(
        self,
        content: Opener,
        readers: int,
        *,
        policy: LagPolicy | None = None,
        alone: Alone = nullcontext,
        fell_behind: Callable[[int], None] | None = None,
    ) -> None:
        self._content = content
        self._policy = policy or LagPolicy()
        self._alone = alone
        self._fell_behind = fell_behind
        self._members = set(range(readers))
        self._stream: _Stream | None = None
        self._stream_opened = asyncio.Event()
        self._pump_lock = asyncio.Lock()
        self._pumping: int | None = None

    @asynccontextmanager
    async def reading(self, reader: int) -> AsyncGenerator[Opener]:
        """Yield the opener of *reader*; while the context lasts, its task may read for all members."""
        try:
            async with background(self._pump(reader)):
                yield partial(self.open, reader)
                await self._finish_pumping(reader)
        finally:
            self.close(reader)

    @asynccontextmanager
    async def open(self, reader: int, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the content from byte *start* for *reader*."""
        if start:
            self.close(reader)  # The window has dropped that byte, or will not reach it soon.
        elif self._stream is None or self._stream.has_failed:
            self._stream = _Stream(self._members, self._policy, self._fell_behind)
            self._stream_opened.set()
        stream = self._stream
        if start or stream is None or not stream.can_serve(reader):
            async with self._alone(reader), self._content(start) as chunks:
                yield chunks
            return
        try:
            yield stream.chunks(reader)
        finally:
            stream.leave(reader)

    def close(self, reader: int) -> None:
        """Remove *reader*: its upload has ended, or reads alone."""
        self._members.discard(reader)
        if self._stream is not None:
            self._stream.leave(reader)

    async def _finish_pumping(self, reader: int) -> None:
        """Read to the end for the others if *reader*, which is done, holds the pump; for a moment only.

        A reader can be done first if it read alone. Another member would need one more request to the source.
        """
        self.close(reader)
        if self._pumping == reader and self._stream is not None and self._members:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._policy.stall):
                    await self._stream.wait_for_end()

    async def _pump(self, reader: int) -> None:
        """Read each stream that a member opens, until this task is cancelled."""
        async with self._pump_lock:  # One member pumps; the next one takes over when it leaves.
            self._pumping = reader
            while True:
                stream = self._stream
                if stream is None or stream.has_ended:
                    self._stream_opened.clear()
                    await self._stream_opened.wait()
                else:
                    await self._read_into(stream)

    async def _read_into(self, stream: "_Stream") -> None:
        try:
            # Another member may have read the beginning of the stream already.
            async with self._content(stream.read_bytes) as chunks:
                async for chunk in chunks:
                    if not await stream.put(bytes(chunk)):
                        break
        except StoreError as failure:
            stream.end(failure)
        else:
            stream.end(None)


class _Stream:
    """One read: a window of chunks, and the position of each of the *expected* readers."""

    def __init__(self, expected: Iterable[int], policy: LagPolicy, fell_behind: Callable[[int], None] | None) -> None:
        self.behind: set[int] = set()
        self.read_bytes = 0
        self._policy = policy
        self._fell_behind = fell_behind
        self._clock = asyncio.get_running_loop().time
        self._change = asyncio.Event()
        self._window: deque[bytes] = deque()
        self._first_chunk = 0  # The number of the first chunk in the window.
        self._window_bytes = 0
        self._positions = dict.fromkeys(expected, 0)
        self._opened: set[int] = set()
        self._began = self._moved = self._clock()
        self._delays: dict[int, float] = {}
        self._failure: StoreError | None = None
        self.has_ended = False

    @property
    def has_failed(self) -> bool:
        """Whether the source failed."""
        return self._failure is not None

    def can_serve(self, reader: int) -> bool:
        """Whether *reader* can get the whole content: it is expected, and has not opened the stream before."""
        return reader in self._positions and reader not in self._opened

    def leave(self, reader: int) -> None:
        """Stop waiting for *reader*."""
        if self._positions.pop(reader, None) is not None:
            self._drop_read_chunks()

    def end(self, failure: StoreError | None) -> None:
        """Record the end of the content, or the *failure* of the source."""
        self._failure, self.has_ended = failure, True
        self._notify()

    async def wait_for_end(self) -> None:
        """Wait until the content was read to its end, or until no reader is left."""
        while not self.has_ended and self._positions:
            await self._change.wait()

    async def put(self, chunk: bytes) -> bool:
        """Add *chunk* once the window has room; return False if no reader is left."""
        while self._window and self._window_bytes + len(chunk) > self._policy.window_bytes:
            await self._wait_for_room()
        self._window.append(chunk)
        self._window_bytes += len(chunk)
        self.read_bytes += len(chunk)
        self._notify()
        return bool(self._positions)

    async def chunks(self, reader: int) -> AsyncGenerator[Chunk]:
        """Yield every chunk to *reader*; raises `Unavailable` once it fell behind, and the failure of the source."""
        self._opened.add(reader)
        while True:
            if reader in self.behind:
                raise Unavailable("this target is slower than the others; it reads the source alone from now on")
            number = self._positions[reader] - self._first_chunk
            if number < len(self._window):
                chunk = self._window[number]
                self._positions[reader] += 1
                self._drop_read_chunks()
                yield chunk
            elif self._failure is not None:
                raise self._failure
            elif self.has_ended:
                return
            else:
                await self._change.wait()

    async def _wait_for_room(self) -> None:
        """Wait for the slowest reader; it falls behind if the others have read everything and wait for too long."""
        slowest = [reader for reader, position in self._positions.items() if position == self._first_chunk]
        if self._first_chunk + len(self._window) not in self._positions.values():  # Every reader has chunks to read.
            await self._change.wait()
            return
        began = self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._policy.stall, max(0.0, self._allowed_delay(slowest)))):
                await self._change.wait()
        now = self._clock()
        for reader in slowest:
            self._delays[reader] = self._delays.get(reader, 0.0) + now - began
            stalled = now - self._moved >= self._policy.stall and self._positions.get(reader) == self._first_chunk
            if stalled or self._allowed_delay([reader]) <= 0:
                self._leave_behind(reader)
        self._drop_read_chunks()

    def _allowed_delay(self, readers: Iterable[int]) -> float:
        """Return for how many more seconds the others may wait for *readers*."""
        most = max((self._delays.get(reader, 0.0) for reader in readers), default=0.0)
        return self._policy.sum + self._policy.share * (self._clock() - self._began) - most

    def _leave_behind(self, reader: int) -> None:
        if self._positions.pop(reader, None) is not None:
            self.behind.add(reader)
            if self._fell_behind is not None:
                self._fell_behind(reader)

    def _drop_read_chunks(self) -> None:
        """Drop the chunks that every reader has."""
        first = min(self._positions.values(), default=self._first_chunk + len(self._window))
        while self._first_chunk < first:
            self._window_bytes -= len(self._window.popleft())
            self._first_chunk += 1
            self._moved = self._clock()
        self._notify()

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()
