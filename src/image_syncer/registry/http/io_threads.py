"""Threads that receive, hash and send pieces of large bodies, while the event loop decides what to do.

Python's lock is free during `recv_into`, `update` and `send`, so several bodies can use several cores. A job is one
piece of one body. It never waits longer than 20 ms for its peer: a slow line goes back to the loop, which costs no
thread. So a few threads serve any number of bodies, and no job can wait for another one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, TypeVar

from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.free_cores import FreeCores, usable_cores
from image_syncer.registry.settings import ThreadUse

LARGE_BYTES: Final = 8 * 1024 * 1024
"""Bodies of at least this size may use threads."""

_MOST_THREADS: Final = 8
_LOOP_PIECES: Final = 8
"""Pieces that go through the loop after a job that had to wait for its peer."""

_Result = TypeVar("_Result")


class ThreadRefused(Exception):
    """The system refuses another thread; the loop does the work itself then."""


class IoThreads:
    """A pool of threads, started with the first job. *use* "always" and "never" ignore free cores and sizes."""

    def __init__(self, use: ThreadUse, cores: FreeCores | None = None) -> None:
        self._use = use
        self._cores = cores
        self._executor: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads; running jobs end within milliseconds."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def turns(self, connection: Connection, size_bytes: int | None) -> "Turns":
        """Return the decisions for a body of *size_bytes*, None if its size is unknown, on *connection*.

        TLS stays in the loop: each record of 16 KiB takes Python's lock, and threads took more time, not less.
        """
        if self._use == "never" or connection.is_encrypted:
            return Turns(None)
        if self._use == "always":
            return Turns(lambda: True)
        if size_bytes is None or size_bytes < LARGE_BYTES:
            return Turns(None)
        self._cores = self._cores or FreeCores()
        return Turns(self._cores.has_free)

    async def run(self, connection: Connection, job: Callable[[], _Result]) -> _Result:
        """Return what *job*, which uses *connection*, returns in a thread.

        If this task is cancelled, the job is interrupted and has ended when `CancelledError` is raised: its buffer can
        be reused at once. *connection* is useless then. Raises `ThreadRefused`.
        """
        if self._executor is None:
            count = min(_MOST_THREADS, max(2, int(usable_cores()) + 1))
            self._executor = ThreadPoolExecutor(count, thread_name_prefix="io")
        with connection.lent():
            try:
                future = self._executor.submit(job)
            except RuntimeError as error:
                self._use = "never"
                raise ThreadRefused from error
            try:
                return await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                connection.interrupt()
                if not future.cancel():
                    wait([future])  # A millisecond at most: no system call of the job waits any more.
                raise


class Turns:
    """Decides for each piece of one body whether it goes through a thread; *allowed* None: none does."""

    def __init__(self, allowed: Callable[[], bool] | None) -> None:
        self._allowed = allowed
        self._loop_pieces = 0

    @property
    def may_use_threads(self) -> bool:
        """Whether some pieces may go through a thread, so that large buffers are worth it."""
        return self._allowed is not None

    def take(self) -> bool:
        """Return whether the next piece goes through a thread."""
        if self._allowed is None:
            return False
        if self._loop_pieces:
            self._loop_pieces -= 1
            return False
        return self._allowed()

    def note(self, *, whole: bool) -> None:
        """Record a job; unless it did its *whole* piece at once, the next pieces go through the loop."""
        self._loop_pieces = 0 if whole else _LOOP_PIECES

    def stop(self) -> None:
        """Use no thread for the rest of this body."""
        self._allowed = None
