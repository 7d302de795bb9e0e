"""Whether a registry is worth asking at all. Pure decisions; `throttle` acts on them (docs/adr/0021).

A registry to which nothing gets through is waited for by everybody together: one request at a time probes it, and the
others wait for what becomes of that. After a time without any answer they fail with the last real reason instead.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Final, Self

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.errors import InsecureConnection, RegistryDown, StoreError, UnknownHost

_FAILURES: Final = 5
_WAVES: Final = 2  # However many fail at the same moment: it may be that moment.
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 8.0

_TRUSTED_FAILURES: Final = 2  # One alone may be a moment's mistake of a resolver or a proxy.
_FIRST_CACHED_SECONDS: Final = 4.0  # A job of the daemon asks again when it is retried after its first waits.
_LONGEST_CACHED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when nothing gets through: *since* on the monotonic clock, *since_date* in UTC, and the *last* failure."""

    since: float
    since_date: datetime
    last: StoreError

    def describe(self, registry: str) -> str:
        """Return since when *registry* is down, and what was wrong the last time."""
        return f"down since {self.since_date:%H:%M:%S} UTC, last: {self.last.message.removeprefix(f'{registry}: ')}"


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """What failures in a row say about a registry.

    *patience* is for how many seconds a registry that has answered before is waited for, *absent_patience* one that
    never has. It is closed as long as requests go on as usual; once it is open, one request probes at *probe_at* and
    after each failure twice as much later, up to 8 s.
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
        """Whether nobody but a probe may ask."""
        return self.wait > 0

    def after_success(self) -> Self:
        """Return what is left after an answer, whatever it was: the registry is there."""
        if self.has_answered and not self.failures:
            return self
        return type(self)(self.patience, self.absent_patience, has_answered=True)

    def after_failure(self, began: float, now: float, date: datetime, failure: StoreError) -> Self:
        """Return what is known after the *failure* of a request that *began* then; *now* and *date* are one instant.

        Failures at the same time are one wave: what began before the last one became known adds nothing new.
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
        """Return for how many seconds a request is held back, 0: it may begin, None: it is not worth it any more.

        Where this is 0 and the breaker is open, the request is the probe: `probed` must be told.
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
        """Whether it is not waited for any more, only probed now and then."""
        return self.outage is not None and now >= self.outage.since + self._patience

    @property
    def _patience(self) -> float:
        return self.patience if self.has_answered else self.absent_patience

    def with_probe(self, *, running: bool) -> Self:
        """Return the breaker while a probe is *running*, or after one that ended without saying anything."""
        return replace(self, probing=running)

    def down_error(self, registry: str, now: float) -> RegistryDown:
        """Return the failure of a request that is not even sent."""
        if self.outage is None:
            raise ValueError("a registry that is not down")
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


@dataclass(frozen=True, slots=True)
class NegativeCache:
    """What is known of the way to a registry: the *last* failure of *failures* in a row, believed *until* then.

    From the second one on it is believed for 4 s, and twice as long each time, up to a minute; times are in seconds on
    one clock. *known_at* is when the last one was found.
    """

    last: StoreError | None = None
    failures: int = 0
    until: float = -inf
    known_at: float = -inf

    def after_failure(self, failure: PermanentFailure, began: float, now: float) -> Self:
        """Return what is known after *failure*, for which one *began* to look then and which was found *now*.

        Who began before the last one was found saw the same moment, and adds nothing.
        """
        if began < self.known_at:
            return self
        failures = self.failures + 1
        seconds = exponential_wait(_FIRST_CACHED_SECONDS, _LONGEST_CACHED_SECONDS, failures - _TRUSTED_FAILURES + 1)
        return type(self)(failure, failures, now + seconds if failures >= _TRUSTED_FAILURES else -inf, now)

    def cached_failure(self, now: float) -> StoreError | None:
        """Return why nobody need try *now*, None where somebody may."""
        if self.last is None or now >= self.until:
            return None
        last = self.last
        failure = type(last)(last.message, status=last.status, code=last.code, remedy=last.remedy)
        failure.__cause__ = last.__cause__
        return failure
