"""When a job that failed is tried again: pure decisions, minutes apart, persisted with the job.

The second of the two levels of docs/adr/0004: requests and blobs were repeated within seconds already, where it helps.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from image_syncer.errors import (
    CopyFailed,
    ImageSyncerError,
    NotFound,
    QuotaUsedUp,
    RateLimited,
    Unavailable,
    UnknownHost,
)

_ERROR_LIMIT: Final = 2000
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class JobRetryPolicy:
    """How often a job is tried, and how long it rests between two tries.

    A job is tried *attempts* times in all, then it is a dead letter. The rest is *first_wait* seconds, doubled with
    each try up to *longest_wait*, of which the second half is random. A registry's `Retry-After` counts where it is
    longer, up to *patience* seconds. A copy that is not even asked for, since a quota is known to be used up, is no
    try: it rests until the quota's window can turn, and a little longer by chance. What is missing at the source, as
    well as the source itself, may appear yet (a push is announced before every replica has it), so that is tried
    *attempts_if_missing* times. A try that a stop of the worker interrupted does not count; one that took its worker
    down with it does, so that such a job cannot go round for ever.
    """

    attempts: int = 10
    first_wait: float = 5.0
    longest_wait: float = 600.0
    patience: float = 6 * 3600.0
    attempts_if_missing: int = 4

    def wait_after(self, error: Exception, attempt: int, rng: Random) -> float | None:
        """Return the seconds to rest after *attempt* (the first is 1) ended with *error*, None where it was the last.

        What cannot help is not repeated (docs/adr/0011); an error that is not ours may be anything, so it is.
        """
        if self.is_last(error, attempt):
            return None
        if not is_counted(error):
            return min(_wish(error), self.patience) * rng.uniform(1.0, 1.1)
        wait = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 64))
        return max(rng.uniform(wait / 2, wait), min(_wish(error), self.patience))

    def is_last(self, error: Exception, attempt: int) -> bool:
        """Whether *attempt*, which ended with *error*, is the last."""
        if not is_counted(error):
            return False
        if _may_appear(error):
            return attempt >= min(self.attempts, self.attempts_if_missing)
        return attempt >= self.attempts or is_permanent(error)


def is_counted(error: Exception) -> bool:
    """Whether a try that ended with *error* is one: nobody was asked where it is known that a quota is used up."""
    return not (isinstance(error, CopyFailed) and isinstance(error.cause, QuotaUsedUp))


def is_permanent(error: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(error, CopyFailed):
        return error.permanent
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


def _wish(error: Exception) -> float:
    """Return the seconds that the registry asked for, 0 where it asked for none."""
    cause = error.cause if isinstance(error, CopyFailed) else error
    return (cause.retry_after or 0.0) if isinstance(cause, RateLimited | Unavailable) else 0.0
