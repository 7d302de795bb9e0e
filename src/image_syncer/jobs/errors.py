"""What can go wrong with the store of jobs, in words that hold no secret."""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from procrastinate.exceptions import ConnectorException

from image_syncer.errors import ImageSyncerError


class JobsUnavailable(ImageSyncerError):
    """The store of jobs cannot be read or written now; trying again can help."""

    retryable = True


class NoJobs(ImageSyncerError):
    """There is no queue yet, and making one was not wanted."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: there are none yet",
            remedy="the daemon makes this at its first start; is it the right file, directory and user?",
        )


@contextmanager
def translated_errors(place: str) -> Generator[None]:
    """Turn trouble with the store at *place* (a name without secrets) into `JobsUnavailable`."""
    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
        raise JobsUnavailable(
            f"{place}: {reason}", remedy="it can be tried again; check that the database runs"
        ) from error
