"""Adaptive concurrency limit (AIMD) and backoff of one registry, from its responses. Pure; `limiter` acts on them."""

from math import inf
from typing import Final, Self

from image_syncer.structs import Struct, field, replace

_DECREASE: Final = 0.5
_DECREASE_PAUSE_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 10.0  # For so long after congestion, the limit stays below the value that caused it.

_SLOW_FACTOR: Final = 8.0
_SLOW_MARGIN_SECONDS: Final = 2.0  # Above what a busy machine or a link full of our own transfers adds.
_SLOW_SECONDS: Final = 10.0
_SLOW_DECREASE: Final = 0.8
_SLOW_SHARE: Final = 4  # Slowness alone leaves a quarter of the slots: it is a weak sign.
_SMOOTHING: Final = 1 / 8
_AGEING: Final = 1.002  # After some hundred responses, a registry that became slower counts as normal again.

_FIRST_STEP_SECONDS: Final = 1.0
_LONGEST_STEP_SECONDS: Final = 60.0
_FORGOTTEN_SECONDS: Final = 900.0


class RequestEnd(Struct):
    """The end of one request that *began* then (monotonic seconds).

    *congested*: the registry could not or would not serve it now. *latency* is the time to the response in seconds;
    None if that says nothing about the registry.
    """

    began: float
    congested: bool = False
    latency: float | None = None


class Latency(Struct):
    """Response times of a registry: the *least* one, a *smoothed* mean, and *slow_since* when it is slow."""

    least: float = inf
    smoothed: float = 0.0
    slow_since: float | None = None

    def after(self, seconds: float, now: float) -> Self:
        """Return the latency after a response that took *seconds*."""
        least = min(self.least * _AGEING, seconds)
        smoothed = seconds if self.least == inf else self.smoothed + (seconds - self.smoothed) * _SMOOTHING
        slow = smoothed > least * _SLOW_FACTOR + _SLOW_MARGIN_SECONDS
        since = now if self.slow_since is None else self.slow_since
        return type(self)(least, smoothed, since if slow else None)


class AimdLimit(Struct):
    """How many requests of one kind may be in flight to a registry: *value*, between 1 and *maximum*.

    It starts at the maximum, since most registries accept that and most runs are short. *safe* worked before the last
    congestion: the value soon returns to it, and exceeds it again only some seconds after the congestion.
    """

    maximum: int
    value: float
    safe: float
    decreased_at: float = -inf
    latency: Latency = field(default_factory=Latency)

    @classmethod
    def at(cls, maximum: int) -> Self:
        """Return the initial limit; a *maximum* below 1 counts as 1."""
        maximum = max(1, maximum)
        return cls(maximum, float(maximum), float(maximum))

    @property
    def slots(self) -> int:
        """How many requests may be in flight at once."""
        return int(self.value)

    def after(self, end: RequestEnd, now: float) -> Self:
        """Return the limit after *end*, known *now*: half of it after congestion, otherwise up to one more.

        A request that began before the last decrease saw the limit before it, and changes nothing.
        """
        if end.congested:
            return self._halved(now) if end.began > self.decreased_at else self
        latency = self.latency if end.latency is None else self.latency.after(end.latency, now)
        value, decreased_at = self.value, self.decreased_at
        if latency.slow_since is not None:
            if now - max(latency.slow_since, decreased_at) >= _SLOW_SECONDS:
                value, decreased_at = max(self._floor, value * _SLOW_DECREASE), now
        elif end.began > decreased_at:
            value = min(self._top(now), value + 1 / value)
        return type(self)(self.maximum, value, self.safe, decreased_at, latency)

    @property
    def _floor(self) -> float:
        """The least value that slowness alone leads to."""
        return min(self.value, max(1.0, self.maximum / _SLOW_SHARE))

    def _top(self, now: float) -> float:
        """Return the largest value allowed now."""
        cautious = now - self.decreased_at < _PROBE_SECONDS
        return max(self.value, self.safe) if cautious else float(self.maximum)

    def _halved(self, now: float) -> Self:
        if now - self.decreased_at < _DECREASE_PAUSE_SECONDS:
            return self
        safe = max(1.0, self.slots - 1.0)
        return replace(self, value=max(1.0, self.value * _DECREASE), safe=safe, decreased_at=now)


class RefusalBackoff(Struct):
    """Exponential backoff for a registry that refuses requests for the moment, mostly without naming a delay.

    *step* is the last pause in seconds, set at *paused_at*. Every request was refused since *since* (None: none was).
    """

    step: float = 0.0
    paused_at: float = -inf
    since: float | None = None

    def after_refusal(self, began: float, now: float, requested: float | None) -> Self:
        """Return the backoff after a refused request that *began* then: the *requested* seconds, or 1, 2, 4 ... 60 s.

        One wave of refusals makes one step: a request that began before the last pause was set changes nothing, unless
        it requests a delay itself. Refusals of long ago no longer count.
        """
        known = self if now - self.paused_at < _FORGOTTEN_SECONDS else type(self)()
        since = now if known.since is None else known.since
        if requested:
            return replace(known, step=requested, paused_at=now, since=since)
        if known.since is None:
            return replace(known, step=_FIRST_STEP_SECONDS, paused_at=now, since=since)
        if began <= known.paused_at:
            return known
        return replace(known, step=min(_LONGEST_STEP_SECONDS, known.step * 2), paused_at=now)

    def after_success(self, began: float) -> Self:
        """Return the backoff after a request that *began* then succeeded: reset, if it began after the pause."""
        return type(self)() if self.since is not None and began > self.paused_at else self
