"""How much may go on at one registry at once, and that it may make us pause.

Places are taken in one global order, whatever the registries, so that nobody waits in a circle:

1. a place at the target for one attempt to push a blob: an upload's, or for a small blob one of its own kind, which
   bounds how many of those are in memory;
2. a download's place at the source, held for one read of a blob that is not small;
3. a request's place, held for one small request with its whole answer; whoever has it waits for the network alone.

So whoever reads a blob and wants to push must open the read inside the push (`Opener`), not the other way round.
A small blob is read whole and sent whole, each in a request's place that is given back in between: it passes the big
ones, and nobody waits for any place while holding one of kind 3.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Literal

from image_syncer.registry.options import Limits
from image_syncer.registry.pace import Backoff, Ended, Pace
from image_syncer.registry.places import Places
from image_syncer.registry.retry import Clock

SMALL_BLOB_BYTES: Final = 1024 * 1024
"""A blob of at most so many bytes is moved by small requests."""

_SMALL_BLOBS: Final = 32
_TOLD_SECONDS: Final = 2.0  # Shorter pauses are nobody's concern.

Operation = Literal["request", "upload", "download"]


def is_small(size_bytes: int | None) -> bool:
    """Whether a blob of *size_bytes* (None: nobody knows) is moved by small requests."""
    return size_bytes is not None and size_bytes <= SMALL_BLOB_BYTES


class Throttle:
    """The places of one registry. A wait for the next try holds none of them.

    Their number follows the registry's answers, up to *limits*. *patience* is in seconds: a registry that has let
    nothing through for so long is not waited for. *waiting* is told the seconds of every pause that people notice.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        *,
        patience: float = 600.0,
        waiting: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._waiting = waiting
        self._lanes: dict[Operation, _Lane] = {
            "request": _Lane(limits.requests_per_host),
            "upload": _Lane(limits.transfers),
            "download": _Lane(limits.transfers),
        }
        self._small = Places(min(_SMALL_BLOBS, limits.requests_per_host // 2))
        self._backoff = Backoff()
        self._paused_until = float("-inf")
        self._told_until = float("-inf")

    def request(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one small request."""
        return self._place(self._lanes["request"].places)

    def upload(self, size_bytes: int | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a place for one attempt to push a blob of *size_bytes*; None where nobody knows."""
        return self._place(self._small if is_small(size_bytes) else self._lanes["upload"].places)

    def download(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one read of a blob that is not small."""
        return self._place(self._lanes["download"].places)

    def width(self, operation: Operation) -> int:
        """Return how many of *operation* may go on at once now."""
        return self._lanes[operation].pace.places

    def pause(self, seconds: float) -> None:
        """Begin nothing more here for *seconds*; a longer pause that is already on stays."""
        now = self._clock.monotonic()
        self._paused_until = max(self._paused_until, now + seconds)
        if seconds >= _TOLD_SECONDS and now >= self._told_until:
            self._told_until = self._paused_until
            self._waiting(seconds)

    def succeeded(self, operation: Operation, began: float, latency: float | None = None) -> None:
        """Learn from a request that *began* then and was answered; *latency* as in `Ended`."""
        self._backoff = self._backoff.after_success(began)
        self._learn(operation, Ended(began, latency=latency))

    def congested(self, operation: Operation, began: float) -> None:
        """Learn from a request that *began* then and that the registry could not serve now."""
        self._learn(operation, Ended(began, congested=True))

    def back_off(self, began: float, wish: float | None) -> float | None:
        """Pause for a request that *began* then and was asked to come later; return the seconds to wait.

        That is the *wish*, or a pause of ours, which grows as long as nothing gets through. None: our patience is over.
        """
        now = self._clock.monotonic()
        self._backoff = backoff = self._backoff.after_refusal(began, now, wish)
        if (wish or 0.0) > self._patience or (backoff.since is not None and now - backoff.since >= self._patience):
            return None
        self.pause(backoff.paused_at + backoff.step - now)
        return max(0.0, self._pause_left())

    def _learn(self, operation: Operation, end: Ended) -> None:
        self._lanes[operation].learn(end, self._clock.monotonic())

    @asynccontextmanager
    async def _place(self, places: Places) -> AsyncGenerator[None]:
        while True:
            await self._pause_over()
            await places.take()
            if self._pause_left() <= 0:
                break
            places.give_back()  # The pause began while we stood in the queue: wait for its end without a place.
        try:
            yield
        finally:
            places.give_back()

    async def _pause_over(self) -> None:
        while (left := self._pause_left()) > 0:
            await self._clock.sleep(left)

    def _pause_left(self) -> float:
        return self._paused_until - self._clock.monotonic()


class _Lane:
    """The places of one kind of operation, and the pace that decides how many."""

    def __init__(self, ceiling: int) -> None:
        self.pace = Pace.at(ceiling)
        self.places = Places(self.pace.places)

    def learn(self, end: Ended, now: float) -> None:
        self.pace = self.pace.after(end, now)
        self.places.resize(self.pace.places)
