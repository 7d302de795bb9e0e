"""When to try again, and after how long. The decision is pure; `retry` acts on it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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

Result = TypeVar("Result")

_REREADS = 1  # Bytes damaged on the way come right the second time; a source that lies never does.


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, handed in: *monotonic* seconds for waiting, *now* (aware UTC) for dates from servers, and *sleep*."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one request or one blob transfer is tried, and how long is waited in between.

    *attempts* counts the first one. The wait before attempt n + 1 is a random part ("full jitter") of
    `min(longest_wait, first_wait * 2 ** (n - 1))`, or what the server asked for. *patience* bounds what is waited
    for one operation as a whole. All in seconds.

    Being asked to slow down is no failed attempt: it is waited for until the patience is over. Nor is a failure while
    the registry as a whole is waited for: a used-up quota for *quota_patience*, one that is down for *outage_patience*,
    one that has never answered for *absent_patience*.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 600.0
    quota_patience: float = 7 * 3600.0  # Longer than the longest window that is common: Docker Hub's six hours.
    outage_patience: float = 60.0
    absent_patience: float = 10.0

    @classmethod
    def patient(cls, seconds: float | None) -> Self:
        """Return the policy of who has *seconds* for a registry that makes him wait; None: as long as is usual."""
        usual = cls()
        if seconds is None:
            return usual
        return cls(
            patience=seconds,
            quota_patience=seconds,
            outage_patience=min(seconds, usual.outage_patience),
            absent_patience=min(seconds, usual.absent_patience),
        )

    def wait_after(self, failure: StoreError, attempt: int, rng: Random) -> float | None:
        """Return the seconds to wait after *failure* of attempt number *attempt* (from 1); None to give up.

        Attempts that ended with being asked to slow down are not counted.
        """
        if isinstance(failure, QuotaUsedUp | RegistryDown):
            return None  # It has been waited for.
        if is_held_back(failure):
            return 0.0
        wished = requested_wait(failure)
        if not failure.retryable or (attempt >= self.attempts and not is_throttled(failure)):
            return None
        if wished is not None:
            return wished if wished <= self.patience else None
        return rng.uniform(0, exponential_wait(self.first_wait, self.longest_wait, attempt))


@dataclass(frozen=True, slots=True)
class Retrying:
    """A policy with what it needs to act: chance and time. *rest* waits where that is not the clock's own sleep."""

    policy: RetryPolicy
    rng: Random
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] | None = None

    async def run(
        self, operation: Callable[[int], Awaitable[Result]], *, advanced: Callable[[], bool] = lambda: False
    ) -> Result:
        """Return what *operation* returns, trying again as the policy says; its last failure is raised unchanged.

        *operation* gets the number of the attempt, from 1. Content that is not what it should be is tried once more.
        *advanced* is asked after each failure whether there was progress, with which patience begins anew.
        """
        tries = RetryAttempts(self)
        for attempt in count(1):
            try:
                return await operation(attempt)
            except StoreError as failure:
                await tries.wait_after(failure, advanced=advanced())
        raise AssertionError("unreachable: the attempts have no end of their own")


class RetryAttempts:
    """The attempts at one operation so far. For what `Retrying.run` can not hold, such as a stream that goes on."""

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._failed = 0
        self._mismatches = 0
        self._waited = 0.0

    async def wait_after(self, failure: StoreError, *, advanced: bool = False) -> None:
        """Wait for the next attempt after *failure*, or raise it unchanged.

        *advanced*: the attempt got further than those before, so patience begins anew.
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


def is_throttled(failure: StoreError) -> bool:
    """Whether *failure* is the registry's wish to slow down, with a time that makes it worth waiting."""
    return is_held_back(failure) or (isinstance(failure, RateLimited) and bool(failure.retry_after))


def is_held_back(failure: StoreError) -> bool:
    """Whether the registry as a whole is waited for, so that who tries again is held back at its door."""
    return isinstance(failure, Postponed) and failure.limiter_holds


def requested_wait(failure: StoreError) -> float | None:
    """Return the seconds that the server asked us to wait (Retry-After), None where it asked for nothing."""
    return failure.retry_after if isinstance(failure, Postponed) else None
