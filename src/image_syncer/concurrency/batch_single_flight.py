"""Many who need the same things: each thing is done once, and several may be done in one go."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Work = Callable[[Sequence[Key]], Awaitable[Mapping[Key, Exception]]]
"""Does what it is given as far as it can, and returns why the rest could not be done."""


_LIMIT = 50_000  # What is forgotten costs a request; what is kept costs memory.


@dataclass(slots=True)
class Seen(Generic[Key]):
    """What became of keys: the *own* ones were done for this caller, and *failures* has those that nobody could do."""

    own: set[Key] = field(default_factory=set[Key])
    failures: dict[Key, Exception] = field(default_factory=dict[Key, Exception])


class BatchSingleFlight(Generic[Key]):
    """Knows what is done (the latest 50 000 things), and who is doing what.

    Who finds a key in work waits for it. Where that fails he does it himself, or shares the failure if
    *share_failures* (the work of all is the same, so it would fail for all).
    """

    def __init__(self, *, share_failures: bool) -> None:
        self._share_failures = share_failures
        self._running: dict[Key, asyncio.Future[Exception | None]] = {}
        self._done: dict[Key, None] = {}  # In the order in which they were done.

    def forget(self, key: Key) -> None:
        """Let *key* be done again by the next who needs it."""
        self._done.pop(key, None)

    async def see_to(self, keys: Collection[Key], work: Work[Key]) -> Seen[Key]:
        """Return when each of *keys* is done or has failed; *work* gets those that nobody had begun, all at once.

        Nobody waits while he has work to do, so nobody waits in a circle.
        """
        seen = Seen[Key]()
        left = list(keys)
        while left := [key for key in left if key not in self._done and key not in seen.failures]:
            fresh = [key for key in left if key not in self._running]
            if fresh:
                await self._lead(fresh, work, seen)
                continue
            running = self._running[left[0]]
            await asyncio.wait([running])  # Not awaited itself: cancelling us must not cancel the leader's future.
            failure = running.result()
            if failure is not None and self._share_failures:
                seen.failures[left[0]] = failure
        return seen

    async def _lead(self, keys: Sequence[Key], work: Work[Key], seen: Seen[Key]) -> None:
        loop = asyncio.get_running_loop()
        futures: dict[Key, asyncio.Future[Exception | None]] = {key: loop.create_future() for key in keys}
        self._running |= futures
        failures: Mapping[Key, Exception] = {}
        finished = False
        try:
            failures = await work(keys)
            finished = True
        finally:
            for key, future in futures.items():
                del self._running[key]
                if finished and key not in failures:
                    self._done[key] = None
                    seen.own.add(key)
                future.set_result(failures.get(key))
        seen.failures |= failures
        while len(self._done) > _LIMIT:
            del self._done[next(iter(self._done))]
