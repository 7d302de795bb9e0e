"""Retry policy with backoff: `RetryPolicy` decides, `Retrying` and `RetryAttempts` wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Self, TypeVar

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.errors import (
    ContentMismatch,
    Postponed,
    QuotaUsedUp,
    RateLimited,
    RegistryDown,
    StoreError,
)
from image_syncer.structs import Struct

Result = TypeVar("Result")

_UNIX_TIME_FROM, _UNIX_MILLISECONDS_FROM = 1e9, 1e11
_REREADS = 1  # A transfer error is gone at the second read; wrong content at the source stays wrong.


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Clock(Struct):
    """Injected time: *monotonic* seconds for waits, *now* (aware UTC) for dates from servers, and *sleep*."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class RetryPolicy(Struct):
    """Attempts and waits for one request or one blob transfer; all durations in seconds.

    *attempts* includes the first one. The wait before attempt n + 1 is random ("full jitter") between 0 and
    `min(longest_wait, first_wait * 2 ** (n - 1))`, or the delay that the server requests. *patience* bounds the sum of
    the waits for one operation.

    A rate-limited attempt does not count as failed: it is repeated until the patience is used up. Nor does a failure
    while requests wait for the whole registry: *quota_patience* bounds the wait for a quota, *outage_patience* for a
    registry that went down, *absent_patience* for one that has never answered.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 600.0
    quota_patience: float = 7 * 3600.0  # Longer than the longest common window, the six hours of Docker Hub.
    outage_patience: float = 60.0
    absent_patience: float = 10.0

    @classmethod
    def patient(cls, seconds: float | None) -> Self:
        """Return the policy for a patience of *seconds* with throttling and outages; None for the defaults."""
        default = cls()
        if seconds is None:
            return default
        return cls(
            patience=seconds,
            quota_patience=seconds,
            outage_patience=min(seconds, default.outage_patience),
            absent_patience=min(seconds, default.absent_patience),
        )

    def wait_after(self, failure: StoreError, attempt: int, rng: Random) -> float | None:
        """Return the seconds to wait after *failure* of attempt number *attempt* (from 1); None to give up.

        *attempt* does not count rate-limited attempts.
        """
        if isinstance(failure, QuotaUsedUp | RegistryDown):
            return None  # The login pool or the breaker has waited for it already.
        if is_held_back(failure):
            return 0.0
        requested = requested_wait(failure)
        if not failure.retryable or (attempt >= self.attempts and not is_throttled(failure)):
            return None
        if requested is not None:
            return requested if requested <= self.patience else None
        return rng.uniform(0, exponential_wait(self.first_wait, self.longest_wait, attempt))


class Retrying(Struct):
    """A policy with its random source and clock. *sleep* replaces the clock's sleep, to make waits interruptible."""

    policy: RetryPolicy
    rng: Random
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] | None = None

    async def run(
        self, operation: Callable[[int], Awaitable[Result]], *, advanced: Callable[[], bool] = lambda: False
    ) -> Result:
        """Return the result of *operation*, retried as the policy says; its last failure is raised unchanged.

        *operation* receives the number of the attempt, from 1. A content mismatch is retried once. *advanced* is called
        after each failure and returns whether the attempt made progress; progress resets attempts and patience.
        """
        attempts = RetryAttempts(self)
        for attempt in count(1):
            try:
                return await operation(attempt)
            except StoreError as failure:
                await attempts.wait_after(failure, advanced=advanced())
        raise AssertionError("unreachable: the attempts have no end of their own")


class RetryAttempts:
    """Counts the attempts at one operation. For loops that `Retrying.run` cannot express, such as a resumed stream."""

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._failed = 0
        self._mismatches = 0
        self._waited = 0.0

    async def wait_after(self, failure: StoreError, *, advanced: bool = False) -> None:
        """Wait for the next attempt after *failure*, or raise it unchanged.

        *advanced*: the attempt made progress, which resets attempts and patience.
        """
        if advanced:
            self._failed, self._waited = 0, 0.0
        else:
            self._failed += not is_throttled(failure)
        self._mismatches += isinstance(failure, ContentMismatch)
        policy = self._retrying.policy
        wait = policy.wait_after(failure, max(1, self._failed), self._retrying.rng)
        if wait is None or self._mismatches > _REREADS or self._waited + wait > policy.patience:
            raise failure
        self._waited += wait
        await (self._retrying.sleep or self._retrying.clock.sleep)(wait)


def seconds_until(number: float, now: Callable[[], datetime]) -> float:
    """Return *number* as a delay in seconds: a number beyond 30 years is a Unix time, in seconds or milliseconds."""
    if number < _UNIX_TIME_FROM:
        return number
    instant = number / 1000 if number >= _UNIX_MILLISECONDS_FROM else number
    return max(0.0, instant - now().timestamp())


def is_throttled(failure: StoreError) -> bool:
    """Whether *failure* is a rate limit with a known delay, or held back by breaker or quota."""
    return is_held_back(failure) or (isinstance(failure, RateLimited) and bool(failure.retry_after))


def is_held_back(failure: StoreError) -> bool:
    """Whether limiter or login pool delay the retry, because the whole registry is unavailable."""
    return isinstance(failure, Postponed) and failure.limiter_holds


def requested_wait(failure: StoreError) -> float | None:
    """Return the seconds that the server asked to wait (Retry-After); None without one."""
    return failure.retry_after if isinstance(failure, Postponed) else None
