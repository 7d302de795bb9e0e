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

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Literal

from image_syncer.concurrency.semaphore import ResizableSemaphore
from image_syncer.concurrency.sleeper import Sleeper
from image_syncer.errors import StoreError
from image_syncer.registry.limits.adaptive_concurrency import AimdLimit, RefusalBackoff, RequestEnd
from image_syncer.registry.limits.circuit_breaker import CircuitBreaker
from image_syncer.registry.limits.retry import Clock, RetryPolicy
from image_syncer.registry.observer import ASKED_TO_WAIT, RegistryObserver, SilentObserver, Wait
from image_syncer.registry.settings import Limits

SMALL_BLOB_BYTES: Final = 1024 * 1024
"""A blob of at most so many bytes is moved by small requests."""

_SMALL_BLOBS: Final = 32
_TOLD_SECONDS: Final = 2.0  # Shorter pauses are nobody's concern.

Operation = Literal["request", "upload", "download"]


def is_small(size_bytes: int | None) -> bool:
    """Whether a blob of *size_bytes* (None: nobody knows) is moved by small requests."""
    return size_bytes is not None and size_bytes <= SMALL_BLOB_BYTES


class HostLimiter:
    """The places of *registry*. A wait for the next try holds none of them.

    Their number follows the registry's answers, up to *limits*. How long a registry is waited for that has let nothing
    through is what *policy* says; *watcher* is told of every wait that people notice.
    """

    def __init__(
        self,
        registry: str,
        limits: Limits,
        clock: Clock,
        *,
        policy: RetryPolicy | None = None,
        rests: Sleeper | None = None,
        watcher: RegistryObserver | None = None,
    ) -> None:
        policy = policy or RetryPolicy()
        self._registry = registry
        self._clock = clock
        self._patience = policy.patience
        self._rests = rests or Sleeper(clock.sleep)
        self._watcher = watcher or SilentObserver()
        self._lanes: dict[Operation, _Slots] = {
            "request": _Slots(limits.requests_per_host),
            "upload": _Slots(limits.transfers),
            "download": _Slots(limits.transfers),
        }
        self._small = ResizableSemaphore(min(_SMALL_BLOBS, limits.requests_per_host // 2))
        self._backoff = RefusalBackoff()
        self._breaker = CircuitBreaker(policy.outage_patience, policy.absent_patience)
        self._probe: object | None = None
        self._paused_until = float("-inf")
        self._told_until = float("-inf")

    def request(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one small request."""
        return _Place(self, self._lanes["request"].places, asks=True)

    def upload(self, size_bytes: int | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a place for one attempt to push a blob of *size_bytes*; None where nobody knows."""
        places = self._small if is_small(size_bytes) else self._lanes["upload"].places
        return _Place(self, places, asks=False)  # Its requests stop at the door one by one.

    def download(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for one read of a blob that is not small."""
        return _Place(self, self._lanes["download"].places, asks=True)

    def concurrency(self, operation: Operation) -> int:
        """Return how many of *operation* may go on at once now."""
        return self._lanes[operation].pace.slots

    def pause(self, seconds: float) -> None:
        """Begin nothing more here for *seconds*; a longer pause that is already on stays."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)
        self._tell(seconds, ASKED_TO_WAIT)

    def note_success(self, operation: Operation, began: float, latency: float | None = None) -> None:
        """Learn from a request that *began* then and was answered; *latency* as in `Ended`."""
        self._backoff = self._backoff.after_success(began)
        self._is_there()
        self._learn(operation, RequestEnd(began, latency=latency))

    def note_failure(self, operation: Operation, began: float, failure: StoreError, *, congested: bool) -> bool:
        """Learn from a request that *began* then and got no answer, or one that nothing can be done with.

        *congested*: fewer at once may do better. Return whether everybody waits for this registry now.
        """
        clock = self._clock
        wait, self._breaker = (
            self._breaker.wait,
            self._breaker.after_failure(began, clock.monotonic(), clock.now(), failure),
        )
        if self._breaker.wait > wait:
            if not self._breaker.is_given_up(clock.monotonic()) and self._breaker.outage is not None:
                self._tell(self._breaker.wait, self._breaker.outage.describe(self._registry))
            self._rests.wake(self)
        self._learn(operation, RequestEnd(began, congested=congested))
        return self._breaker.is_open

    def note_congestion(self, operation: Operation, began: float) -> None:
        """Learn from a request that *began* then and that the registry would not serve now."""
        self._is_there()
        self._learn(operation, RequestEnd(began, congested=True))

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

    def _is_there(self) -> None:
        """Note that the registry has answered."""
        was_open, self._breaker = self._breaker.is_open, self._breaker.after_success()
        if was_open:
            self._told_until = float("-inf")
            self._watcher.on_resume(self._registry)
            self._rests.wake(self)

    def _learn(self, operation: Operation, end: RequestEnd) -> None:
        self._lanes[operation].learn(end, self._clock.monotonic())

    def _tell(self, seconds: float, reason: str) -> None:
        now = self._clock.monotonic()
        if seconds >= _TOLD_SECONDS and now >= self._told_until:
            self._told_until = now + seconds
            self._watcher.on_wait(Wait(self._registry, seconds, reason))

    async def acquire(self, places: ResizableSemaphore, *, asks: bool) -> object | None:
        """Take one of *places*, once the door is open; return the probe that its holder makes, None for no probe."""
        while True:
            while (seconds := self._hold(asks=asks)) > 0:
                await self._rests.sleep(seconds, self)
            await places.acquire()
            try:
                is_open = self._hold(asks=asks) <= 0
            except StoreError:
                places.release()
                raise
            if is_open:
                return self._begin_probe() if asks and self._breaker.is_open else None
            places.release()  # The door was shut while we stood in the queue: wait for it without a place.

    def release(self, places: ResizableSemaphore, probe: object | None) -> None:
        """Give back what `enter` took."""
        places.release()
        if probe is not None:
            self._end_probe(probe)

    def _hold(self, *, asks: bool) -> float:
        """Return for how many seconds nothing may begin; `RegistryDown` where it is not worth waiting for that."""
        left = self._pause_left()
        if left > 0 or not self._breaker.is_open:
            return left
        now = self._clock.monotonic()
        left = self._breaker.delay(now)
        if left is None:
            raise self._breaker.down_error(self._registry, now)
        return left if asks else 0.0

    def _begin_probe(self) -> object:
        self._probe = object()
        self._breaker = self._breaker.with_probe(running=True)
        return self._probe

    def _end_probe(self, probe: object) -> None:
        """Let another one probe where *probe* ended without telling anything: it was cancelled, for instance."""
        if probe is self._probe and self._breaker.probing:
            self._breaker = self._breaker.with_probe(running=False)
            self._rests.wake(self)

    def _pause_left(self) -> float:
        return self._paused_until - self._clock.monotonic()


class _Place:
    """Holds one of *places*; a class, since every HEAD takes one and a generator would cost as much as the rest."""

    __slots__ = ("_asks", "_places", "_probe", "_throttle")

    def __init__(self, throttle: HostLimiter, places: ResizableSemaphore, *, asks: bool) -> None:
        self._throttle = throttle
        self._places = places
        self._asks = asks
        self._probe: object | None = None

    async def __aenter__(self) -> None:
        self._probe = await self._throttle.acquire(self._places, asks=self._asks)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._throttle.release(self._places, self._probe)


class _Slots:
    """The places of one kind of operation, and the pace that decides how many."""

    def __init__(self, ceiling: int) -> None:
        self.pace = AimdLimit.at(ceiling)
        self.places = ResizableSemaphore(self.pace.slots)

    def learn(self, end: RequestEnd, now: float) -> None:
        before, self.pace = self.pace.slots, self.pace.after(end, now)
        if self.pace.slots != before:
            self.places.resize(self.pace.slots)
