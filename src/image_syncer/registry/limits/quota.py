"""What a registry says of its quota, and what may still be asked of it. Pure; `entries` acts on it (docs/adr/0021).

Docker Hub counts reads of manifests: `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`, also on the
answer to a HEAD, which is not counted (docs.docker.com, "Usage and limits"). Others follow one of the drafts of
"RateLimit header fields for HTTP", or have fields that begin with `X-RateLimit-`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Final, Self

from image_syncer.registry.http.messages import Headers

_NUMBER: Final = re.compile(r"\s*([0-9]{1,12})\b")
LONGEST_WINDOW_SECONDS: Final = 7 * 24 * 3600.0
"""What a registry may claim at most."""

_LOOKS_IN_A_WINDOW: Final = 24
_SHORTEST_LOOK_SECONDS: Final = 60.0
_EPOCH_FROM: Final = 1_000_000_000  # A larger number of seconds is an instant.
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Quota:
    """*remaining* requests of *limit* in a *window* of seconds, which turns in *turns_in* seconds; None: not told."""

    remaining: int
    limit: int | None = None
    window: float | None = None
    resets_in: float | None = None

    def __str__(self) -> str:
        if self.limit is None or self.window is None:
            return "" if self.limit is None else f"{self.limit}"
        return f"{self.limit} per {_span(self.window)}"

    @property
    def next_check_in(self) -> float | None:
        """Return after how many seconds something may be left again; None where nobody can tell.

        Where a window begins is not told by all, and some windows slide: then it is worth a look 24 times in one.
        """
        if self.resets_in is not None:
            return max(1.0, self.resets_in)
        if self.window is None:
            return None
        return min(self.window, max(_SHORTEST_LOOK_SECONDS, self.window / _LOOKS_IN_A_WINDOW))


def read_quota(headers: Headers, now: Callable[[], datetime]) -> Quota | None:
    """Return what *headers* tell of a quota, None where that is nothing."""
    remaining = headers.get("RateLimit-Remaining")
    if remaining is not None:
        return _quota(remaining, headers.get("RateLimit-Limit"), headers.get("RateLimit-Reset"), now)
    remaining = headers.get("X-RateLimit-Remaining")
    if remaining is not None:
        return _quota(remaining, headers.get("X-RateLimit-Limit"), headers.get("X-RateLimit-Reset"), now)
    said = headers.get("RateLimit")
    left = None if said is None else _parameter(said, "r")
    if said is None or left is None:
        return None
    policy = headers.get("RateLimit-Policy") or ""
    return Quota(left, _parameter(policy, "q"), _bounded(_parameter(policy, "w")), _bounded(_parameter(said, "t")))


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What is left of a quota for one login.

    *counted_at* is when the latest answer came to a request that counts. Nothing is left since *used_up_at* (None:
    something is), and *looks_at* is when it is worth a look. *refused*: the registry has said no, and not only that the
    next counted request will be one.
    """

    quota: Quota | None = None
    counted_at: float = -inf
    used_up_at: float | None = None
    next_check_at: float = -inf
    refused: bool = False

    def after_answer(self, quota: Quota, began: float, now: float, *, counted: bool) -> Self:
        """Return what is known after an answer, which told *quota*, to a request that *began* then.

        One that began before the latest counted answer came may have been answered before that was counted, so it can
        only tell that less is left.
        """
        if self.quota is not None and began < self.counted_at:
            quota = replace(quota, remaining=min(quota.remaining, self.quota.remaining))
        counted_at = now if counted else self.counted_at
        looks_in = quota.next_check_in
        if quota.remaining > 0 or looks_in is None:
            return type(self)(quota, counted_at)
        since = now if self.used_up_at is None else self.used_up_at
        if now < self.next_check_at:  # A look that nobody counted tells nothing new: it does not put off the next one.
            return replace(self, quota=quota, counted_at=counted_at)
        return type(self)(quota, counted_at, since, now + looks_in, self.refused)

    def after_refusal(self, quota: Quota, wish: float | None, now: float) -> Self:
        """Return what is known after a refusal with nothing remaining; *wish* is what the registry asked to wait."""
        since = now if self.used_up_at is None else self.used_up_at
        looks_in = wish or quota.next_check_in or _SHORTEST_LOOK_SECONDS
        return type(self)(quota, now, since, max(self.next_check_at, now + looks_in), refused=True)

    def delay(self, now: float, *, counted: bool) -> float:
        """Return for how many seconds a request is held back. Only *counted* ones are, before there was a refusal."""
        if self.used_up_at is None or not (counted or self.refused):
            return 0.0
        return max(0.0, self.next_check_at - now)

    @property
    def concurrency(self) -> float:
        """How many counted requests may be on their way together, so that none is refused."""
        if self.used_up_at is not None:
            return 1  # To look whether something is left again.
        return inf if self.quota is None else self.quota.remaining


def _quota(remaining: str, limit: str | None, reset: str | None, now: Callable[[], datetime]) -> Quota | None:
    left = _number(remaining)
    if left is None:
        return None
    window = _parameter(limit or "", "w") or _parameter(remaining, "w")
    turns_in = _number(reset or "")
    if turns_in is not None and turns_in >= _EPOCH_FROM:
        turns_in = max(0, turns_in - int(now().timestamp()))
    return Quota(left, _number(limit or ""), _bounded(window), _bounded(turns_in))


def _number(text: str) -> int | None:
    found = _NUMBER.match(text)
    return int(found[1]) if found else None


def _parameter(text: str, name: str) -> int | None:
    """Return the number of the first parameter *name* in *text*, such as `w` in `100;w=21600`."""
    found = re.search(rf";\s*{name}\s*=\s*([0-9]{{1,12}})\b", text[:1000])
    return int(found[1]) if found else None


def _bounded(seconds: int | None) -> float | None:
    return None if seconds is None else min(float(seconds), LONGEST_WINDOW_SECONDS)


def _span(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length and not seconds % length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
