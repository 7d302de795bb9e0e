"""Places for so many at once, in the order in which they were asked for."""

import asyncio
from collections import deque
from contextlib import suppress


class ResizableSemaphore:
    """A semaphore whose number of places may change.

    When it shrinks below what is in use, nobody is interrupted: places that come back are not given out again until
    the number is right.
    """

    def __init__(self, count: int) -> None:
        self._count = max(1, count)
        self._used = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def used(self) -> int:
        """How many places are taken."""
        return self._used

    async def acquire(self) -> None:
        """Take a place, after all who asked before. Who is cancelled while waiting holds none."""
        if self._used < self._count:  # Then nobody waits: what comes back is given out at once.
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # The place came in the very moment of the cancellation.
            else:
                with suppress(ValueError):  # It has been passed over already.
                    self._queue.remove(turn)
            raise

    def release(self) -> None:
        """Give a place back."""
        self._used -= 1
        self._give_out()

    def resize(self, count: int) -> None:
        """Let *count* places be given out, at least one."""
        self._count = max(1, count)
        self._give_out()

    def _give_out(self) -> None:
        while self._queue and self._used < self._count:
            turn = self._queue.popleft()
            if not turn.done():
                self._used += 1
                turn.set_result(None)
