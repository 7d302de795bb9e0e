"""What can go wrong with the state, split by what its reader can do.

    ImageSyncerError
    ├── StateUnavailable        now it cannot be read or written; trying again can help        (retryable)
    └── UsageError
        └── StateUnusable       it never will: damaged, of another program or of a newer image-syncer (exit 2)

Messages hold the first line of what the database said, never a statement, its parameters or a password.
"""

from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from image_syncer.errors import ImageSyncerError, UsageError

_TEXT_LIMIT: Final = 200
_DAMAGED: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
# PostgreSQL's classes of SQLSTATE: wrong login, unknown database, and a right that is missing.
_REFUSED: Final = ("28", "3D", "42501")
# The same at the start of a connection, where libpq hands on no SQLSTATE.
_REFUSALS: Final = ("authentication failed", "no pg_hba.conf entry", '" does not exist')


class StateUnavailable(ImageSyncerError):
    """The state cannot be read or written now, and nothing was accepted; trying again can help.

    After a time-out what was to be written may be there all the same: everything written here may be repeated.
    """

    retryable = True


class StateUnusable(UsageError):
    """The state is damaged, belongs to another program, was written by a newer version, or does not let us in."""


def translated(error: SQLAlchemyError, place: str) -> Exception:
    """Return *error* as one of ours; *place* names the state without its secrets.

    What the database says about our statements themselves is a fault of ours and stays what it is.
    """
    if isinstance(error, PoolTimeout):
        return StateUnavailable(f"{place}: all connections are busy")
    if not isinstance(error, DBAPIError):
        return error
    explanation = explained(error.orig, place)
    if isinstance(error, IntegrityError | DataError | ProgrammingError) and explanation.retryable:
        return error
    return explanation


def explained(cause: BaseException | None, place: str) -> ImageSyncerError:
    """Return a driver's error as one of ours."""
    text = _first_line(cause)
    if _sqlite_name(cause) in _DAMAGED:
        return StateUnusable(
            f"{place}: the file is damaged: {text}",
            remedy="move it and its -wal file away and start again; the next run of each rule finds what is missing",
        )
    if _refused(cause, text):
        return StateUnusable(f"{place}: {text}", remedy="check user, password, database and rights")
    return StateUnavailable(f"{place}: {text}", remedy="it is tried again; check that the database runs")


def _refused(cause: BaseException | None, text: str) -> bool:
    sqlstate = getattr(cause, "sqlstate", None)
    return (isinstance(sqlstate, str) and sqlstate.startswith(_REFUSED)) or any(words in text for words in _REFUSALS)


def _sqlite_name(cause: BaseException | None) -> str:
    """Return the primary result code, such as SQLITE_CORRUPT for SQLITE_CORRUPT_INDEX; empty for other databases."""
    return "_".join(str(getattr(cause, "sqlite_errorname", "")).split("_")[:2])


def _first_line(cause: BaseException | None) -> str:
    return (str(cause).strip().splitlines() or ["no reason given"])[0][:_TEXT_LIMIT]
