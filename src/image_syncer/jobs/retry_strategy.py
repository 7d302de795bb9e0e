"""When a job that failed is tried again: pure decisions, minutes apart, persisted with the job.

The second of the two levels of docs/adr/0004: requests and blobs were repeated within seconds already, where it helps.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.errors import (
    CopyFailed,
    ImageSyncerError,
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


@dataclass(frozen=True, slots=True)
class JobRetryPolicy:
    """How often a job is tried, and how long it rests between two tries.

    A job is tried *attempts* times in all, then it is a dead letter. The rest is *first_wait* seconds, doubled with
    each try up to *longest_wait*, of which the second half is random. A registry's `Retry-After` counts where it is
    longer, up to *patience* seconds.

    A copy that is not even asked for is no try, as long as nobody has waited for it longer than *outage_patience*
    seconds. Where a quota is known to be used up it rests until that's window can turn, and a little longer by chance.
    Where a registry is down it rests for a quarter of the time that it has been wanted, within the bounds of the other
    rests: often at first, and late by a quarter at most where the outage was long.

    What is missing at the source, as well as the source itself, may appear yet (a push is announced before every
    replica has it), so that is tried *attempts_if_missing* times. A try that a stop of the worker interrupted does not
    count; one that took its worker down with it does, so that such a job cannot go round for ever.
    """

    attempts: int = 10
    first_wait: float = 5.0
    longest_wait: float = 600.0
    patience: float = 6 * 3600.0
    attempts_if_missing: int = 4
    outage_patience: float = 7 * 24 * 3600.0

    def wait_after(self, error: Exception, attempt: int, rng: Random, *, age: float = 0.0) -> float | None:
        """Return the seconds to rest after *attempt* (the first is 1) ended with *error*, None where it was the last.

        *age* is for how many seconds the job has been wanted. What cannot help is not repeated (docs/adr/0011); an
        error that is not ours may be anything, so it is.
        """
        if self.is_last(error, attempt, age=age):
            return None
        counted = self.is_counted(error, age=age)
        if not counted and isinstance(_cause(error), QuotaUsedUp):
            return min(_wish(error), self.patience) * rng.uniform(1.0, 1.1)
        if counted:
            wait = exponential_wait(self.first_wait, self.longest_wait, attempt)
        else:
            wait = min(self.longest_wait, max(self.first_wait, age * _SHARE_OF_AGE))
        return max(rng.uniform(wait / 2, wait), min(_wish(error), self.patience))

    def is_last(self, error: Exception, attempt: int, *, age: float = 0.0) -> bool:
        """Whether *attempt*, which ended with *error*, is the last of a job that has been wanted for *age* seconds."""
        if not self.is_counted(error, age=age):
            return False
        if _may_appear(error):
            return attempt >= min(self.attempts, self.attempts_if_missing)
        return attempt >= self.attempts or is_permanent(error)

    def is_counted(self, error: Exception, *, age: float = 0.0) -> bool:
        """Whether a try that ended with *error* is one, of a job that has been wanted for *age* seconds.

        Nobody was asked where a quota is known to be used up, or a registry to be down; beyond our patience it is one.
        """
        return age > self.outage_patience or not isinstance(_cause(error), QuotaUsedUp | RegistryDown)


def is_permanent(error: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(error, CopyFailed):
        return error.is_permanent
    return isinstance(error, ImageSyncerError) and not error.retryable


def describe(error: Exception) -> str:
    """Return what an operator may read of *error*: bounded, one line, and nothing of an error that is not ours.

    Our own errors hold no secret; the text of another's may hold a URL with a token.
    """
    if isinstance(error, ImageSyncerError):
        return _CONTROLS.sub(" ", str(error))[:_ERROR_LIMIT]
    if isinstance(error, TimeoutError):
        return "it took longer than a job may"
    return f"unexpected {type(error).__name__}; the log has the details"


def _may_appear(error: Exception) -> bool:
    return isinstance(error, CopyFailed) and error.side == "source" and isinstance(error.cause, NotFound | UnknownHost)


def _cause(error: Exception) -> Exception:
    return error.cause if isinstance(error, CopyFailed) else error


def _wish(error: Exception) -> float:
    """Return the seconds that the registry asked for, 0 where it asked for none."""
    cause = _cause(error)
    return (cause.retry_after or 0.0) if isinstance(cause, RateLimited | Unavailable) else 0.0
