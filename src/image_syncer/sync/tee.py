"""One read for many uploads, through a bounded window.

The slowest upload sets the pace, within a bound: who keeps the others waiting for too long falls behind, and is served
by a read of his own when he tries again. An upload that ends early leaves the others alone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from image_syncer.errors import StoreError, Unavailable
from image_syncer.roles import Chunk, Opener


@dataclass(frozen=True, slots=True)
class LagPolicy:
    """How far apart readers may be, in bytes, and for how many seconds one may keep the others waiting.

    *stall* bounds one wait, *sum* all waits for the same reader.
    """

    window_bytes: int = 2 * 1024 * 1024
    stall: float = 10.0
    sum: float = 60.0


class SharedRead:
    """The content that *content* opens, for *readers* who are numbered from 0, each of whom opens it with `open`.

    `pump` does the reading, and must run in a task beside them. Where the source failed, those who open again share the
    next read; who opens again for reasons of his own, in the middle, or after he has fallen behind, reads alone.
    """

    def __init__(self, content: Opener, readers: int, *, pace: LagPolicy | None = None) -> None:
        self._content = content
        self._pace = pace or LagPolicy()
        self._members = set(range(readers))
        self._stream: _Stream | None = None
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def open(self, reader: int, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the content from byte *start* for *reader*."""
        if start:
            self.close(reader)  # What he wants is gone by, or far ahead.
            async with self._content(start) as chunks:
                yield chunks
            return
        if self._stream is None or self._stream.failed:
            self._stream = _Stream(self._members, self._pace)
            self._asked.set()
        if not self._stream.is_open_to(reader):  # He had his part of it, and something else went wrong.
            async with self._content() as chunks:
                yield chunks
            return
        stream = self._stream
        try:
            yield stream.chunks(reader)
        finally:
            stream.leave(reader)

    def close(self, reader: int) -> None:
        """Expect *reader* no more: his upload has ended, in whatever way."""
        self._members.discard(reader)
        if self._stream is not None:
            self._stream.leave(reader)

    async def pump(self) -> None:
        """Read whenever somebody has opened; runs until it is cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            stream = self._stream
            if stream is None:
                continue
            try:
                async with self._content() as chunks:
                    async for chunk in chunks:
                        if not await stream.put(bytes(chunk)):
                            break
            except StoreError as failure:
                stream.end(failure)
            else:
                stream.end(None)


class _Stream:
    """One read: a window of chunks, and where each of the *expected* readers is."""

    def __init__(self, expected: Iterable[int], pace: LagPolicy) -> None:
        self.behind: set[int] = set()
        self._pace = pace
        self._clock = asyncio.get_running_loop().time
        self._change = asyncio.Event()
        self._window: deque[bytes] = deque()
        self._begin = 0  # The number of the first chunk in the window.
        self._size_bytes = 0
        self._at = dict.fromkeys(expected, 0)
        self._opened: set[int] = set()
        self._moved = self._clock()
        self._held_up: dict[int, float] = {}
        self._failure: StoreError | None = None
        self._ended = False

    @property
    def failed(self) -> bool:
        """Whether the source broke off."""
        return self._failure is not None

    def is_open_to(self, reader: int) -> bool:
        """Whether *reader* can still get all of it: he is expected, and did not have any of it yet."""
        return reader in self._at and reader not in self._opened

    def leave(self, reader: int) -> None:
        """Wait for *reader* no more."""
        if self._at.pop(reader, None) is not None:
            self._tidy()

    def end(self, failure: StoreError | None) -> None:
        """Note that all was read, or why no more can be."""
        self._failure, self._ended = failure, True
        self._notify()

    async def put(self, chunk: bytes) -> bool:
        """Add *chunk* as soon as there is room for it; False where nobody wants it any more."""
        while self._window and self._size_bytes + len(chunk) > self._pace.window_bytes:
            await self._wait_for_room()
        self._window.append(chunk)
        self._size_bytes += len(chunk)
        self._notify()
        return bool(self._at)

    async def chunks(self, reader: int) -> AsyncGenerator[Chunk]:
        """Yield every chunk to *reader*; `Unavailable` once he has fallen behind, or what the read raised."""
        self._opened.add(reader)
        while True:
            if reader in self.behind:
                raise Unavailable("this target was too slow for the others, and is served alone from now on")
            number = self._at[reader] - self._begin
            if number < len(self._window):
                chunk = self._window[number]
                self._at[reader] += 1
                self._tidy()
                yield chunk
            elif self._failure is not None:
                raise self._failure
            elif self._ended:
                return
            else:
                await self._change.wait()

    async def _wait_for_room(self) -> None:
        """Wait for the slowest; it falls behind where others have nothing to do meanwhile, and that lasts."""
        slowest = [reader for reader, at in self._at.items() if at == self._begin]
        end = self._begin + len(self._window)
        if end not in self._at.values():  # Nobody waits for what is not read yet.
            await self._change.wait()
            return
        began = self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._moved + self._pace.stall):
                await self._change.wait()
        now = self._clock()
        for reader in slowest:
            self._held_up[reader] = self._held_up.get(reader, 0.0) + now - began
            stalled = now - self._moved >= self._pace.stall and self._at.get(reader) == self._begin
            if stalled or self._held_up[reader] >= self._pace.sum:
                self.behind.add(reader)
                self._at.pop(reader, None)
        self._tidy()

    def _tidy(self) -> None:
        """Drop what everybody had."""
        first = min(self._at.values(), default=self._begin + len(self._window))
        while self._begin < first:
            self._size_bytes -= len(self._window.popleft())
            self._begin += 1
            self._moved = self._clock()
        self._notify()

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()
