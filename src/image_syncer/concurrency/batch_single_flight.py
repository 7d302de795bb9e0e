"""Single flight over many keys: each key is worked on once, and one caller may work on several in one batch."""

import asyncio
from collections.abc import Collection, Hashable
from types import TracebackType
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_REMEMBERED_KEYS = 50_000
"""Finished keys that are kept. A key that was dropped costs one more request; a key that is kept costs memory."""

_Running = dict[Key, "asyncio.Future[Exception | None]"]


class Claim(Generic[Key]):
    """One caller's progress through its keys, to be entered while keys are *pending*.

        claim = flights.claim(keys)
        while claim.pending:
            async with claim as batch:
                claim.failures |= await work(batch)

    Each *batch* holds the keys that no other caller has begun; it may be empty. When the body ends, its keys are done,
    except those that it put into *failures*. If the body raises or is cancelled, another caller may claim its keys.

    Entering waits for other callers only when this caller has nothing left to work on. So a caller that others wait for
    is always working, and callers with crossing keys cannot wait for each other in a circle.
    """

    def __init__(
        self, keys: Collection[Key], running: _Running[Key], done: dict[Key, None], *, share_failures: bool
    ) -> None:
        self.pending: dict[Key, None] = dict.fromkeys(keys)
        """Keys that are neither done nor failed, in the caller's order."""
        self.own: set[Key] = set()
        """Keys that this caller did itself."""
        self.failures: dict[Key, Exception] = {}
        """Why keys failed: this caller's own, and with *share_failures* those of other callers."""
        self._running = running
        self._done = done
        self._share_failures = share_failures
        self._batch: dict[Key, asyncio.Future[Exception | None]] = {}

    async def __aenter__(self) -> list[Key]:
        """Return the keys to work on now. Wait first while other callers work on all that is pending."""
        while self._settle():
            batch = [key for key in self.pending if key not in self._running]
            if batch:
                loop = asyncio.get_running_loop()
                self._batch = {key: loop.create_future() for key in batch}
                self._running |= self._batch  # No await between the look and this, so a key has one worker.
                return batch
            key = next(iter(self.pending))
            running = self._running[key]
            await asyncio.wait([running])  # Awaiting the future itself would cancel it together with this caller.
            failure = running.result()
            if failure is not None and self._share_failures:
                self.failures[key] = failure
        return []

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record the end of this batch and wake the callers that wait for its keys."""
        batch, self._batch = self._batch, {}
        for key, future in batch.items():
            del self._running[key]
            failure = self.failures.get(key) if error is None else None
            if error is None and failure is None:
                self._done[key] = None
                self.own.add(key)
            if error is None:
                self.pending.pop(key, None)
            future.set_result(failure)  # None without an entry in `_done` tells a waiter to claim the key.
        while len(self._done) > _REMEMBERED_KEYS:
            del self._done[next(iter(self._done))]

    def _settle(self) -> bool:
        """Drop the keys that are done or failed by now; return whether any are still pending."""
        self.pending = {key: None for key in self.pending if key not in self._done and key not in self.failures}
        return bool(self.pending)


class BatchSingleFlight(Generic[Key]):
    """Remembers the latest 50 000 finished keys, and which keys are being worked on.

    A caller waits for keys that another caller works on. If that work fails, the caller claims the keys itself, or
    takes over the failure if *share_failures* (use it where the work is the same for every caller).
    """

    def __init__(self, *, share_failures: bool) -> None:
        self._share_failures = share_failures
        self._running: _Running[Key] = {}
        self._done: dict[Key, None] = {}  # Oldest first.

    def claim(self, keys: Collection[Key]) -> Claim[Key]:
        """Return a claim on *keys*; it takes none before it is entered."""
        return Claim(keys, self._running, self._done, share_failures=self._share_failures)

    def is_free(self, key: Key) -> bool:
        """Whether a claim on *key* would start its work: it is neither finished nor being worked on."""
        return key not in self._done and key not in self._running

    def forget(self, key: Key) -> None:
        """Let the next caller that needs *key* work on it again."""
        self._done.pop(key, None)
