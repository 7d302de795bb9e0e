"""Circuit breaker for outages, and negative cache for permanent connection failures. Pure; see docs/adr/0021.

While a registry is down, all requests wait together: one at a time probes it, and the others wait for the result. After
the patience without any response they fail with the last real reason. `HostLimiter` acts on the breaker.

A permanent failure (unknown host, untrusted TLS) is the same for every image and no outage, so no request waits for its
end: after the first few, requests fail at once with the cached failure. `HostConnection` acts on the cache.
"""

from datetime import datetime
from math import inf
from typing import Final, Self

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.errors import InsecureConnection, RegistryDown, StoreError, UnknownHost
from image_syncer.structs import Struct, replace

_FAILURES: Final = 5
_WAVES: Final = 2  # Any number of failures at the same moment may have one momentary cause.
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 8.0

_TRUSTED_FAILURES: Final = 2  # A single one may be a momentary error of a resolver or proxy.
_FIRST_CACHED_SECONDS: Final = 4.0  # Short enough that the first retries of a daemon job try again.
_LONGEST_CACHED_SECONDS: Final = 60.0


class Outage(Struct):
    """An outage since *since* (monotonic clock) or *since_date* (UTC), with the *last* failure."""

    since: float
    since_date: datetime
    last: StoreError

    def describe(self, registry: str) -> str:
        """Return for how long *registry* has been down, and the last failure, as text."""
        return f"down since {self.since_date:%H:%M:%S} UTC, last: {self.last.message.removeprefix(f'{registry}: ')}"


class CircuitBreaker(Struct):
    """The breaker of one registry, after some consecutive *failures*.

    Requests wait *patience* seconds for a registry that has answered before, and *absent_patience* for one that never
    has. While closed, requests run normally. While open, one request probes at *probe_at*; each failed probe doubles
    the wait for the next, up to 8 s.
    """

    patience: float = 60.0
    absent_patience: float = 10.0
    has_answered: bool = False
    failures: int = 0
    waves: int = 0
    wave_at: float = -inf
    outage: Outage | None = None
    wait: float = 0.0
    probe_at: float = -inf
    probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether only a probe may be sent."""
        return self.wait > 0

    def after_success(self) -> Self:
        """Return the closed breaker after a response with any status: the registry is up."""
        if self.has_answered and not self.failures:
            return self
        return type(self)(self.patience, self.absent_patience, has_answered=True)

    def after_failure(self, began: float, now: float, date: datetime, failure: StoreError) -> Self:
        """Return the breaker after the *failure* of a request that *began* then; *now* and *date* are one instant.

        Concurrent failures form one wave: a request that began before the last failure was known adds no new wave.
        """
        new = began >= self.wave_at
        outage = replace(self.outage, last=failure) if self.outage else Outage(began, date, failure)
        known = replace(
            self,
            failures=self.failures + 1,
            waves=self.waves + new,
            wave_at=now if new else self.wave_at,
            outage=outage,
        )
        if self.is_open:
            return replace(known, **_next_probe(self.wait, now), probing=False) if self.probing and new else known
        if known.failures >= _FAILURES and known.waves >= _WAVES:
            return replace(known, **_next_probe(0.0, now))
        return known

    def delay(self, now: float) -> float | None:
        """Return the seconds until a request may start, 0 if it may start now, None if the patience is over.

        If this is 0 while the breaker is open, the request is the probe: the caller must record it by `with_probe`.
        """
        if not self.is_open or self.outage is None:
            return 0.0
        if not self.probing and now >= self.probe_at:
            return 0.0
        left = self.outage.since + self._patience - now
        if left <= 0:
            return None
        return left if self.probing else min(left, self.probe_at - now)

    def is_given_up(self, now: float) -> bool:
        """Whether the patience is over, so that requests fail at once except for probes."""
        return self.outage is not None and now >= self.outage.since + self._patience

    @property
    def _patience(self) -> float:
        return self.patience if self.has_answered else self.absent_patience

    def with_probe(self, *, running: bool) -> Self:
        """Return the breaker while a probe is *running*, or after one that ended without a result."""
        return replace(self, probing=running)

    def down_error(self, registry: str, now: float) -> RegistryDown:
        """Return the error for a request that is not sent because the registry is down."""
        if self.outage is None:
            raise ValueError("the registry is not down")
        last = self.outage.last
        return RegistryDown(
            f"{registry}: {self.outage.describe(registry)}",
            retry_after=max(0.0, self.probe_at - now),
            status=last.status,
            code=last.code,
            remedy=last.remedy,
        )


def _next_probe(wait: float, now: float) -> dict[str, float]:
    longer = min(_LONGEST_WAIT_SECONDS, max(_FIRST_WAIT_SECONDS, wait * 2))
    return {"wait": longer, "probe_at": now + longer}


PermanentFailure = UnknownHost | InsecureConnection


class NegativeCache(Struct):
    """Negative cache for permanent connection failures: the *last* of *failures* in a row, valid *until* then.

    The second failure is cached for 4 s, and each further one twice as long, up to a minute; times are in seconds on
    one clock. *known_at* is the time of the last failure.
    """

    last: StoreError | None = None
    failures: int = 0
    until: float = -inf
    known_at: float = -inf

    def after_failure(self, failure: PermanentFailure, began: float, now: float) -> Self:
        """Return the cache after *failure* of an attempt that *began* then; it is known *now*.

        An attempt that began before the last failure was known saw the same moment, and changes nothing.
        """
        if began < self.known_at:
            return self
        failures = self.failures + 1
        seconds = exponential_wait(_FIRST_CACHED_SECONDS, _LONGEST_CACHED_SECONDS, failures - _TRUSTED_FAILURES + 1)
        return type(self)(failure, failures, now + seconds if failures >= _TRUSTED_FAILURES else -inf, now)

    def cached_failure(self, now: float) -> StoreError | None:
        """Return the cached failure; None if *now* an attempt may be made."""
        if self.last is None or now >= self.until:
            return None
        last = self.last
        failure = type(last)(last.message, status=last.status, code=last.code, remedy=last.remedy)
        failure.__cause__ = last.__cause__
        return failure
