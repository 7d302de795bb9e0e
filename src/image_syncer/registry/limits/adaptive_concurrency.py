"""How much a registry takes at once, learnt from how its answers end. Pure decisions; `throttle` acts on them."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, Self

_DECREASE: Final = 0.5
_DECREASE_PAUSE_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 10.0  # So long after trouble we stay below the width that made it.

_SLOW_FACTOR: Final = 8.0
_SLOW_MARGIN_SECONDS: Final = 2.0  # A busy machine or a line that is full of our own blobs reaches no such times.
_SLOW_SECONDS: Final = 10.0
_SLOW_DECREASE: Final = 0.8
_SLOW_SHARE: Final = 4  # Slowness alone leaves a quarter of the places: it is a weak sign.
_SMOOTHING: Final = 1 / 8
_AGEING: Final = 1.002  # A registry that has become slower for good is normal again after some hundred answers.

_FIRST_STEP_SECONDS: Final = 1.0
_LONGEST_STEP_SECONDS: Final = 60.0
_FORGOTTEN_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """How one request ended that *began* then (monotonic seconds).

    *congested*: the registry could not or would not serve it now. *latency* is in seconds until the answer began; None
    where that says nothing about the registry.
    """

    began: float
    congested: bool = False
    latency: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a registry takes to answer: the *least* it showed, a *smoothed* mean, and since when it is slow."""

    least: float = inf
    smoothed: float = 0.0
    slow_since: float | None = None

    def after(self, seconds: float, now: float) -> Self:
        """Return what is known after an answer that took *seconds*."""
        least = min(self.least * _AGEING, seconds)
        smoothed = seconds if self.least == inf else self.smoothed + (seconds - self.smoothed) * _SMOOTHING
        slow = smoothed > least * _SLOW_FACTOR + _SLOW_MARGIN_SECONDS
        since = now if self.slow_since is None else self.slow_since
        return type(self)(least, smoothed, since if slow else None)


@dataclass(frozen=True, slots=True)
class AimdLimit:
    """How many requests of one kind may be on their way to a registry: *width*, between 1 and *ceiling*.

    It begins at the ceiling, since most registries take that and most runs are short. *safe* is what went well before
    the last trouble: the width soon comes back to it, and goes beyond it again when the trouble is some seconds old.
    """

    maximum: int
    width: float
    safe: float
    decreased_at: float = -inf
    latency: Latency = field(default_factory=Latency)

    @classmethod
    def at(cls, ceiling: int) -> Self:
        """Return the pace at the beginning; a *ceiling* below 1 counts as 1."""
        ceiling = max(1, ceiling)
        return cls(ceiling, float(ceiling), float(ceiling))

    @property
    def slots(self) -> int:
        """How many may be on their way at once."""
        return int(self.width)

    def after(self, end: RequestEnd, now: float) -> Self:
        """Return the pace after *end*, which became known *now*: half of it after congestion, up to one more otherwise.

        What began before the last decrease tells of the time before it, and changes nothing.
        """
        if end.congested:
            return self._halved(now) if end.began > self.decreased_at else self
        latency = self.latency if end.latency is None else self.latency.after(end.latency, now)
        width, decreased_at = self.width, self.decreased_at
        if latency.slow_since is not None:
            if now - max(latency.slow_since, decreased_at) >= _SLOW_SECONDS:
                width, decreased_at = max(self._floor, width * _SLOW_DECREASE), now
        elif end.began > decreased_at:
            width = min(self._top(now), width + 1 / width)
        return type(self)(self.maximum, width, self.safe, decreased_at, latency)

    @property
    def _floor(self) -> float:
        """How far slowness alone takes us down."""
        return min(self.width, max(1.0, self.maximum / _SLOW_SHARE))

    def _top(self, now: float) -> float:
        """Return how wide we may become now."""
        cautious = now - self.decreased_at < _PROBE_SECONDS
        return max(self.width, self.safe) if cautious else float(self.maximum)

    def _halved(self, now: float) -> Self:
        if now - self.decreased_at < _DECREASE_PAUSE_SECONDS:
            return self
        safe = max(1.0, self.slots - 1.0)
        return replace(self, width=max(1.0, self.width * _DECREASE), safe=safe, decreased_at=now)


@dataclass(frozen=True, slots=True)
class RefusalBackoff:
    """For how long a registry is left alone that refuses for the moment and does not say for how long.

    *step* is the last pause in seconds, set at *paused_at*; nothing has got through since *since* (None: it does).
    """

    step: float = 0.0
    paused_at: float = -inf
    since: float | None = None

    def after_refusal(self, began: float, now: float, wish: float | None) -> Self:
        """Return the next pause, for a request that *began* then: the *wish* in seconds, or 1, 2, 4 ... 60 s.

        One wave of refusals makes one step: what began before the last pause was set changes nothing, unless it has a
        wish of its own. Refusals of long ago count no more.
        """
        known = self if now - self.paused_at < _FORGOTTEN_SECONDS else type(self)()
        since = now if known.since is None else known.since
        if wish:
            return replace(known, step=wish, paused_at=now, since=since)
        if known.since is None:
            return replace(known, step=_FIRST_STEP_SECONDS, paused_at=now, since=since)
        if began <= known.paused_at:
            return known
        return replace(known, step=min(_LONGEST_STEP_SECONDS, known.step * 2), paused_at=now)

    def after_success(self, began: float) -> Self:
        """Return what is left after a request that *began* then got through: nothing, if it began after the pause."""
        return type(self)() if self.since is not None and began > self.paused_at else self
