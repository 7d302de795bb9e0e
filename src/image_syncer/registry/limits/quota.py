"""Quotas from rate-limit headers, and how many requests they still allow. See docs/adr/0021.

Docker Hub counts manifest GETs and sends `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`, also
with a HEAD, which it does not count (docs.docker.com, "Usage and limits"). Others follow a draft of "RateLimit header
fields for HTTP", or send `X-RateLimit-` headers.
"""

import re
from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import Final, Self

from image_syncer.registry.http.messages import Headers
from image_syncer.registry.limits.retry import seconds_until
from image_syncer.structs import Struct, replace

_NUMBER: Final = re.compile(r"\s*([0-9]{1,15})\b")
LONGEST_WINDOW_SECONDS: Final = 7 * 24 * 3600.0
"""The longest window that a registry can announce."""

_CHECKS_PER_WINDOW: Final = 24
_SHORTEST_CHECK_SECONDS: Final = 60.0
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


class Quota(Struct):
    """*remaining* requests of *limit* per *window* seconds, reset in *resets_in* seconds; None if not announced."""

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
        """The seconds until the quota may have room again; None if unknown.

        Without an announced reset, or with a sliding window, 24 checks per window find out.
        """
        if self.resets_in is not None:
            return max(1.0, self.resets_in)
        if self.window is None:
            return None
        return min(self.window, max(_SHORTEST_CHECK_SECONDS, self.window / _CHECKS_PER_WINDOW))


def read_quota(headers: Headers, now: Callable[[], datetime]) -> Quota | None:
    """Return the quota that *headers* announce, or None."""
    remaining = headers.get("RateLimit-Remaining")
    if remaining is not None:
        return _quota(remaining, headers.get("RateLimit-Limit"), headers.get("RateLimit-Reset"), now)
    remaining = headers.get("X-RateLimit-Remaining")
    if remaining is not None:
        return _quota(remaining, headers.get("X-RateLimit-Limit"), headers.get("X-RateLimit-Reset"), now)
    current = headers.get("RateLimit")
    left = None if current is None else _parameter(current, "r")
    if current is None or left is None:
        return None
    policy = headers.get("RateLimit-Policy") or ""
    return Quota(left, _parameter(policy, "q"), _bounded(_parameter(policy, "w")), _bounded(_parameter(current, "t")))


class QuotaState(Struct):
    """What is known of one login's quota; times are on the monotonic clock.

    *counted_at* is the time of the latest response to a counted request. The quota is exhausted since *used_up_at*
    (None: it has room), and checked again at *next_check_at*. *refused*: the registry has refused a request, so even
    requests that it does not count are held back.
    """

    quota: Quota | None = None
    counted_at: float = -inf
    used_up_at: float | None = None
    next_check_at: float = -inf
    refused: bool = False

    def after_answer(self, quota: Quota, began: float, now: float, *, counted: bool) -> Self:
        """Return the state after a response with *quota* to a request that *began* at that time.

        A request that began before the latest counted response may have been answered before that one was counted, so
        it can only lower the remaining number.
        """
        if self.quota is not None and began < self.counted_at:
            quota = replace(quota, remaining=min(quota.remaining, self.quota.remaining))
        counted_at = now if counted else self.counted_at
        next_check_in = quota.next_check_in
        if quota.remaining > 0 or next_check_in is None:
            return type(self)(quota, counted_at)
        since = now if self.used_up_at is None else self.used_up_at
        if now < self.next_check_at:  # A response in between is no check: it does not put off the next one.
            return replace(self, quota=quota, counted_at=counted_at)
        return type(self)(quota, counted_at, since, now + next_check_in, self.refused)

    def after_refusal(self, quota: Quota, retry_after: float | None, now: float) -> Self:
        """Return the state after a refusal with nothing remaining; *retry_after* is the delay the registry requests."""
        since = now if self.used_up_at is None else self.used_up_at
        next_check_in = retry_after or quota.next_check_in or _SHORTEST_CHECK_SECONDS
        return type(self)(quota, now, since, max(self.next_check_at, now + next_check_in), refused=True)

    def delay(self, now: float, *, counted: bool) -> float:
        """Return the seconds until a request may start; before a refusal, only *counted* ones wait."""
        if self.used_up_at is None or not (counted or self.refused):
            return 0.0
        return max(0.0, self.next_check_at - now)

    @property
    def concurrency(self) -> float:
        """How many counted requests may be in flight together without being refused."""
        if self.used_up_at is not None:
            return 1  # The check whether there is room again.
        return inf if self.quota is None else self.quota.remaining


def _quota(remaining: str, limit: str | None, reset: str | None, now: Callable[[], datetime]) -> Quota | None:
    left = _number(remaining)
    if left is None:
        return None
    window = _parameter(limit or "", "w") or _parameter(remaining, "w")
    reset_number = _number(reset or "")
    resets_in = None if reset_number is None else seconds_until(reset_number, now)
    return Quota(left, _number(limit or ""), _bounded(window), _bounded(resets_in))


def _number(text: str) -> int | None:
    found = _NUMBER.match(text)
    return int(found[1]) if found else None


def _parameter(text: str, name: str) -> int | None:
    """Return the number of the first parameter *name* in *text*, such as `w` in `100;w=21600`."""
    found = re.search(rf";\s*{name}\s*=\s*([0-9]{{1,12}})\b", text[:1000])
    return int(found[1]) if found else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(float(seconds), LONGEST_WINDOW_SECONDS)


def _span(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length and not seconds % length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
