"""When a failed job is retried: pure decisions, with pauses of minutes that are persisted with the job.

The second of the two retry levels of docs/adr/0004; the first retries requests and blobs within seconds.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.errors import (
    CopyFailed,
    ImageSyncerError,
    LeaseLost,
    NotFound,
    QuotaUsedUp,
    RateLimited,
    RegistryDown,
    Unavailable,
    UnknownHost,
)

_ERROR_LIMIT: Final = 2000
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SHARE_OF_AGE: Final = 0.25
_QUOTA_SPREAD: Final = 1.1


@dataclass(frozen=True, slots=True)
class JobRetryPolicy:
    """The number of attempts of a job, and the pauses between them in seconds.

    After *attempts* counted attempts a job is a dead letter. The pause starts at *first_wait* and doubles up to
    *longest_wait*; its second half is random. A longer `Retry-After` of the registry applies, up to *patience*.

    An attempt that makes no request does not count until the job is older than *outage_patience*: if a quota is used
    up, the job pauses until the quota's window ends, plus a random share; if a registry is down, it pauses for a
    quarter of its age, within the bounds of other pauses, so that it is late by a quarter of the outage at most.

    A missing image or source host may still appear, since a push is announced before every replica has it: it gets
    *attempts_if_missing* attempts. An attempt that the worker's stop interrupts does not count. One that kills its
    worker does, so that such a job cannot loop.
    """

    attempts: int = 10
    first_wait: float = 5.0
    longest_wait: float = 600.0
    patience: float = 6 * 3600.0
    attempts_if_missing: int = 4
    outage_patience: float = 7 * 24 * 3600.0

    @property
    def longest_pause(self) -> float:
        """The longest pause between two attempts, in seconds."""
        return max(self.longest_wait, self.patience * _QUOTA_SPREAD)

    def wait_after(self, error: Exception, attempt: int, rng: Random, *, age: float = 0.0) -> float | None:
        """Return the pause after *attempt* (from 1) failed with *error*, in seconds; None if it was the last.

        *age* is the time since the request. Permanent failures are not retried (docs/adr/0011); unexpected exceptions
        are.
        """
        if self.is_last(error, attempt, age=age):
            return None
        counted = self.is_counted(error, age=age)
        if not counted and isinstance(_cause(error), QuotaUsedUp):
            return min(_retry_after(error), self.patience) * rng.uniform(1.0, _QUOTA_SPREAD)
        if isinstance(_cause(error), LeaseLost):
            return self.first_wait
        if counted:
            wait = exponential_wait(self.first_wait, self.longest_wait, attempt)
        else:
            wait = min(self.longest_wait, max(self.first_wait, age * _SHARE_OF_AGE))
        return max(rng.uniform(wait / 2, wait), min(_retry_after(error), self.patience))

    def is_last(self, error: Exception, attempt: int, *, age: float = 0.0) -> bool:
        """Whether *attempt*, which failed with *error*, is the last one of a job that is *age* seconds old."""
        if not self.is_counted(error, age=age):
            return False
        if _may_appear(error):
            return attempt >= min(self.attempts, self.attempts_if_missing)
        return attempt >= self.attempts or is_permanent(error)

    def is_counted(self, error: Exception, *, age: float = 0.0) -> bool:
        """Whether an attempt that failed with *error* counts, for a job that is *age* seconds old.

        A used-up quota or a registry that is down cost no request, and without a lease the attempt belongs to another
        worker, so they count only after *outage_patience*.
        """
        return age > self.outage_patience or not isinstance(_cause(error), QuotaUsedUp | RegistryDown | LeaseLost)


def is_outage(error: Exception) -> bool:
    """Whether the circuit breaker of a registry refused the attempt."""
    return isinstance(_cause(error), RegistryDown)


def is_permanent(error: Exception) -> bool:
    """Whether a retry cannot help."""
    if isinstance(error, CopyFailed):
        return error.is_permanent
    return isinstance(error, ImageSyncerError) and not error.retryable


def describe(error: Exception) -> str:
    """Return a bounded line about *error* for operators, without the text of unexpected exceptions.

    An `ImageSyncerError` holds no secret; another exception may hold a URL with a token.
    """
    if isinstance(error, ImageSyncerError):
        return _CONTROLS.sub(" ", str(error))[:_ERROR_LIMIT]
    if isinstance(error, TimeoutError):
        return "the attempt timed out"
    return f"unexpected {type(error).__name__}; the log has the details"


def _may_appear(error: Exception) -> bool:
    return isinstance(error, CopyFailed) and error.side == "source" and isinstance(error.cause, NotFound | UnknownHost)


def _cause(error: Exception) -> Exception:
    return error.cause if isinstance(error, CopyFailed) else error


def _retry_after(error: Exception) -> float:
    """Return the registry's `Retry-After` in seconds, 0 without one."""
    cause = _cause(error)
    return (cause.retry_after or 0.0) if isinstance(cause, RateLimited | Unavailable) else 0.0
