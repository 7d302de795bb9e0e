"""Two semaphores: one whose size may change, and one that serves the highest priority first.

Both count a slot as taken when they hand it to a waiting task, not when that task runs. So a task that asks in between
cannot overtake, and a task that is cancelled in between has to pass its slot on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress


class ResizableSemaphore:
    """A first-come-first-served semaphore whose number of slots may change.

    When it shrinks below the number in use, running tasks keep their slots; released ones are not handed out again
    until the number fits.
    """

    def __init__(self, slots: int) -> None:
        self._slots = max(1, slots)
        self._used = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def used(self) -> int:
        """Number of slots that are taken."""
        return self._used

    async def acquire(self) -> None:
        """Take a slot, after all earlier callers. A caller that is cancelled while it waits holds none."""
        if self._used < self._slots:  # The queue is empty then: released slots are handed out at once.
            self._used += 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release()  # The slot was granted just before the cancellation.
            else:
                with suppress(ValueError):  # `_grant` has dropped it already.
                    self._queue.remove(granted)
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._used -= 1
        self._grant()

    def resize(self, slots: int) -> None:
        """Change the number of slots to *slots*, at least one."""
        self._slots = max(1, slots)
        self._grant()

    def _grant(self) -> None:
        while self._queue and self._used < self._slots:
            granted = self._queue.popleft()
            if not granted.done():
                self._used += 1
                granted.set_result(None)


class PrioritySemaphore:
    """A semaphore that hands each free slot to the waiting task with the highest priority at that moment.

    The number of slots may change; when it shrinks, running tasks keep theirs.
    """

    def __init__(self, slots: int) -> None:
        self._slots = self._free = max(1, slots)
        self._waiting: dict[asyncio.Future[None], Callable[[], int]] = {}  # In the order of arrival.

    @property
    def has_waiting(self) -> bool:
        """Whether a task waits for a slot."""
        return bool(self._waiting)

    def resize(self, slots: int) -> None:
        """Change the number of slots to *slots*, at least one."""
        slots = max(1, slots)
        self._free += slots - self._slots
        self._slots = slots
        self._grant()

    @asynccontextmanager
    async def slot(self, priority: Callable[[], int]) -> AsyncGenerator[None]:
        """Hold a slot. *priority* is called whenever a slot is handed out; equal priorities go in order of arrival."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, priority: Callable[[], int]) -> None:
        if self._free > 0:  # No task waits then: released slots are handed out at once.
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = priority
        try:
            await granted
        except asyncio.CancelledError:
            if self._waiting.pop(granted, None) is None and not granted.cancelled():
                self._release()  # The slot was granted just before the cancellation.
            raise

    def _release(self) -> None:
        self._free += 1
        self._grant()

    def _grant(self) -> None:
        while self._free > 0 and self._waiting:
            granted = max(self._waiting, key=lambda future: self._waiting[future]())
            del self._waiting[granted]
            if not granted.cancelled():
                self._free -= 1
                granted.set_result(None)
