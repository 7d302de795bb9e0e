"""Errors of the job store, without secrets."""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from procrastinate.exceptions import ConnectorException

from image_syncer.errors import ImageSyncerError, UsageError
from image_syncer.state.errors import is_damage


class JobsUnavailable(ImageSyncerError):
    """The job store cannot be read or written now; a retry can help."""

    retryable = True


class JobsUnusable(UsageError):
    """The file of jobs is damaged: no retry can help."""


class NoJobs(ImageSyncerError):
    """The queue does not exist, and the caller does not want to create it."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: not created yet",
            remedy="the daemon creates it at its first start; check file, directory and user",
        )


@contextmanager
def translated_errors(place: str) -> Generator[None]:
    """Raise errors of the store as `JobsUnavailable` or `JobsUnusable`; *place* is its name without secrets."""
    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
        if is_damage(cause):
            raise JobsUnusable(
                f"{place}: the file is damaged: {reason}",
                remedy="move it and its -wal file away and restart; the next run of each rule copies what is missing",
            ) from error
        raise JobsUnavailable(f"{place}: {reason}", remedy="retry later; check that the database runs") from error
