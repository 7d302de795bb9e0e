"""Per-host limiter: slots for concurrent operations, pauses that a registry requests, and the circuit breaker.

Invariants that exclude a deadlock. Slots are always taken in this order, whichever registries they belong to:

1. an upload slot at the target, for one attempt to push a blob; a small blob takes one of a separate set, which bounds
   how many small blobs are in memory;
2. a download slot at the source, for one read of a blob that is not small;
3. a request slot, for one small request with its complete response; its holder waits for the network only.

So code that reads a blob in order to push it must open the read inside the push (`Opener`), never the reverse. A small
blob is read whole and sent whole, each in a request slot that is released in between, so small blobs pass large ones.

Waits for the end of a pause or outage hold no slot: `acquire` checks again after it got the slot, and releases the
slot before it waits. While the breaker is open, one request at a time probes the registry; the end of the probe, with
or without a result, wakes all waiters, so a cancelled probe leaves no waiter behind.
"""

from collections.abc import Callable
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
from image_syncer.structs import replace

SMALL_BLOB_BYTES: Final = 1024 * 1024
"""The largest blob that small requests move."""

NEAR_REQUESTS: Final = 40
"""The most small requests in flight where round trips are short: more of them would only queue there."""

_LOOK_SECONDS: Final = 0.25
"""How long it counts whether a registry is far."""

_SMALL_BLOBS: Final = 32
_ANNOUNCED_SECONDS: Final = 2.0  # Shorter waits are not announced.

Operation = Literal["request", "upload", "download"]


def is_small(size_bytes: int | None) -> bool:
    """Whether small requests move a blob of *size_bytes* (None: unknown)."""
    return size_bytes is not None and size_bytes <= SMALL_BLOB_BYTES


class HostLimiter:
    """The slots of *registry*; a wait before a retry holds none of them.

    The number of slots adapts to the registry's responses, up to *limits*. *policy* bounds the wait for a registry that
    is down, and *observer* receives every wait that is long enough to be announced.
    """

    def __init__(
        self,
        registry: str,
        limits: Limits,
        clock: Clock,
        *,
        policy: RetryPolicy | None = None,
        sleeper: Sleeper | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        policy = policy or RetryPolicy()
        self._registry = registry
        self._clock = clock
        self._patience = policy.patience
        self._sleeper = sleeper or Sleeper(clock.sleep)
        self._observer = observer or SilentObserver()
        self._slots: dict[Operation, _Slots] = {
            "request": _Slots(limits.requests_per_host, near=NEAR_REQUESTS),
            "upload": _Slots(limits.transfers),
            "download": _Slots(limits.transfers),
        }
        self.is_far: Callable[[], bool] = bool  # Whether round trips are long.
        self._looked_at = float("-inf")
        self._small = ResizableSemaphore(min(_SMALL_BLOBS, limits.requests_per_host // 2))
        self._backoff = RefusalBackoff()
        self._breaker = CircuitBreaker(policy.outage_patience, policy.absent_patience)
        self._probe: object | None = None
        self._paused_until = float("-inf")
        self._announced_until = float("-inf")

    def request(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot for one small request."""
        return _HeldSlot(self, self._slots["request"].semaphore, sends=True)

    def upload(self, size_bytes: int | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a slot for one attempt to push a blob of *size_bytes* (None: unknown)."""
        semaphore = self._small if is_small(size_bytes) else self._slots["upload"].semaphore
        return _HeldSlot(self, semaphore, sends=False)  # The breaker checks its requests one by one.

    def download(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot for one read of a blob that is not small."""
        return _HeldSlot(self, self._slots["download"].semaphore, sends=True)

    def concurrency(self, operation: Operation) -> int:
        """Return how many of *operation* may run at once now."""
        return self._slots[operation].size

    def pause(self, seconds: float) -> None:
        """Start nothing at this registry for *seconds*; a longer pause that already runs stays."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)
        self._announce(seconds, ASKED_TO_WAIT)

    def note_success(self, operation: Operation, began: float, latency: float | None = None) -> None:
        """Record that a request that *began* then got a response; *latency* as in `RequestEnd`."""
        self._backoff = self._backoff.after_success(began)
        self._close_breaker()
        self._adapt(operation, RequestEnd(began, latency=latency))

    def note_failure(self, operation: Operation, began: float, failure: StoreError, *, congested: bool) -> bool:
        """Record that a request that *began* then got no usable response; return whether the breaker is open.

        *congested*: a smaller number of concurrent requests may succeed.
        """
        clock = self._clock
        wait, self._breaker = (
            self._breaker.wait,
            self._breaker.after_failure(began, clock.monotonic(), clock.now(), failure),
        )
        if self._breaker.wait > wait:
            if not self._breaker.is_given_up(clock.monotonic()) and self._breaker.outage is not None:
                self._announce(self._breaker.wait, self._breaker.outage.describe(self._registry))
            self._sleeper.wake(self)
        self._adapt(operation, RequestEnd(began, congested=congested))
        return self._breaker.is_open

    def note_congestion(self, operation: Operation, began: float) -> None:
        """Record that the registry refused to serve a request that *began* then for the moment."""
        self._close_breaker()
        self._adapt(operation, RequestEnd(began, congested=True))

    def back_off(self, began: float, requested: float | None) -> float | None:
        """Pause after a rate limit of a request that *began* then; return the seconds to wait.

        That is the *requested* delay, or a backoff that grows while requests are refused. None: the patience is over.
        """
        now = self._clock.monotonic()
        self._backoff = backoff = self._backoff.after_refusal(began, now, requested)
        if (requested or 0.0) > self._patience or (backoff.since is not None and now - backoff.since >= self._patience):
            return None
        self.pause(backoff.paused_at + backoff.step - now)
        return max(0.0, self._pause_left())

    def _close_breaker(self) -> None:
        """Close the breaker: the registry has answered."""
        was_open, self._breaker = self._breaker.is_open, self._breaker.after_success()
        if was_open:
            self._announced_until = float("-inf")
            self._observer.on_resume(self._registry)
            self._sleeper.wake(self)

    def _adapt(self, operation: Operation, end: RequestEnd) -> None:
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at, self._slots["request"].is_far = now, self.is_far()
        self._slots[operation].adapt(end, now)

    def _announce(self, seconds: float, reason: str) -> None:
        now = self._clock.monotonic()
        if seconds >= _ANNOUNCED_SECONDS and now >= self._announced_until:
            self._announced_until = now + seconds
            self._observer.on_wait(Wait(self._registry, seconds, reason))

    async def acquire(self, semaphore: ResizableSemaphore, *, sends: bool) -> object | None:
        """Take a slot of *semaphore* when neither pause nor breaker forbids it; return the probe it runs, if any.

        *sends*: the slot is for one request, which the breaker may hold back or use as its probe.
        """
        while True:
            while (seconds := self._delay(sends=sends)) > 0:
                await self._sleeper.sleep(seconds, self)
            await semaphore.acquire()
            try:
                may_start = self._delay(sends=sends) <= 0
            except StoreError:
                semaphore.release()
                raise
            if may_start:
                return self._begin_probe() if sends and self._breaker.is_open else None
            semaphore.release()  # The breaker opened, or a pause began, while queued: wait for that without a slot.

    def release(self, semaphore: ResizableSemaphore, probe: object | None) -> None:
        """Release the slot that `acquire` took."""
        semaphore.release()
        if probe is not None:
            self._end_probe(probe)

    def _delay(self, *, sends: bool) -> float:
        """Return the seconds until something may start; `RegistryDown` if the wait would exceed the patience."""
        left = self._pause_left()
        if left > 0 or not self._breaker.is_open:
            return left
        now = self._clock.monotonic()
        left = self._breaker.delay(now)
        if left is None:
            raise self._breaker.down_error(self._registry, now)
        return left if sends else 0.0

    def _begin_probe(self) -> object:
        self._probe = object()
        self._breaker = self._breaker.with_probe(running=True)
        return self._probe

    def _end_probe(self, probe: object) -> None:
        """Allow another probe if *probe* ended without a result, for instance because it was cancelled."""
        if probe is self._probe and self._breaker.probing:
            self._breaker = self._breaker.with_probe(running=False)
            self._sleeper.wake(self)

    def _pause_left(self) -> float:
        return self._paused_until - self._clock.monotonic()


class _HeldSlot:
    """Holds a slot of *semaphore*; a class, since a generator per HEAD would cost as much CPU as the rest."""

    __slots__ = ("_limiter", "_probe", "_semaphore", "_sends")

    def __init__(self, limiter: HostLimiter, semaphore: ResizableSemaphore, *, sends: bool) -> None:
        self._limiter = limiter
        self._semaphore = semaphore
        self._sends = sends
        self._probe: object | None = None

    async def __aenter__(self) -> None:
        self._probe = await self._limiter.acquire(self._semaphore, sends=self._sends)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release(self._semaphore, self._probe)


class _Slots:
    """The slots of one kind of operation, and the limit that sets their number: at most *near*, unless it is far."""

    def __init__(self, maximum: int, near: int | None = None) -> None:
        self.limit = AimdLimit.at(maximum)
        self._near = near
        self.is_far = False
        self._size = self.size
        self.semaphore = ResizableSemaphore(self._size)

    @property
    def size(self) -> int:
        """The number of slots."""
        return self.limit.slots if self._near is None or self.is_far else min(self.limit.slots, self._near)

    def adapt(self, end: RequestEnd, now: float) -> None:
        """Change the number of slots after *end*, known *now*."""
        if end.congested and self.limit.value > self._size:
            self.limit = replace(self.limit, value=float(self._size))  # What was too much is what was allowed.
        self.limit = self.limit.after(end, now)
        if self.size != self._size:
            self._size = self.size
            self.semaphore.resize(self._size)
