"""Errors of the state, split by what the operator can do.

    ImageSyncerError
    ├── StateUnavailable        temporary: reading or writing failed now                     (retryable)
    └── UsageError
        └── StateUnusable       permanent: damaged, of another program or of a newer image-syncer  (exit 2)

Messages hold the first line of the database's error, never a statement, its parameters or a password.
"""

from typing import TYPE_CHECKING, Final

from image_syncer.errors import ImageSyncerError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.exc import SQLAlchemyError  # A slow import, which a one-shot run does not need.

_TEXT_LIMIT: Final = 200
_DAMAGED: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
# Classes of PostgreSQL's SQLSTATE: wrong login, unknown database, missing privilege.
_REFUSED: Final = ("28", "3D", "42501")
# The same failures of a new connection, for which libpq reports no SQLSTATE.
_REFUSALS: Final = ("authentication failed", "no pg_hba.conf entry", '" does not exist')


class StateUnavailable(ImageSyncerError):
    """The state cannot be read or written now, and the call had no effect; a retry can help.

    After a timeout the write may have succeeded, so every write here can be repeated.
    """

    retryable = True


class StateUnusable(UsageError):
    """The state is damaged, belongs to another program or a newer version, or refuses the login."""


def translated(error: "SQLAlchemyError", place: str) -> Exception:
    """Return *error* as an `ImageSyncerError`; *place* names the state without secrets.

    Errors in the statements themselves are bugs and are returned unchanged.
    """
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError  # noqa: PLC0415 - as above
    from sqlalchemy.exc import TimeoutError as PoolTimeout  # noqa: PLC0415

    if isinstance(error, PoolTimeout):
        return StateUnavailable(f"{place}: all connections are busy")
    if not isinstance(error, DBAPIError):
        return error
    explanation = explained(error.orig, place)
    if isinstance(error, IntegrityError | DataError | ProgrammingError) and explanation.retryable:
        return error
    return explanation


def explained(cause: BaseException | None, place: str) -> ImageSyncerError:
    """Return the error of a driver as an `ImageSyncerError`."""
    text = _first_line(cause)
    if is_damage(cause):
        return StateUnusable(
            f"{place}: the file is damaged: {text}",
            remedy="move it and its -wal file away and restart; the next run of each rule copies what is missing",
        )
    if _refused(cause, text):
        return StateUnusable(f"{place}: {text}", remedy="check user, password, database and privileges")
    return StateUnavailable(f"{place}: {text}", remedy="image-syncer retries; check that the database runs")


def is_damage(cause: BaseException | None) -> bool:
    """Whether SQLite's error means that the file is damaged or no database at all."""
    return _sqlite_name(cause) in _DAMAGED


def _refused(cause: BaseException | None, text: str) -> bool:
    sqlstate = getattr(cause, "sqlstate", None)
    return (isinstance(sqlstate, str) and sqlstate.startswith(_REFUSED)) or any(words in text for words in _REFUSALS)


def _sqlite_name(cause: BaseException | None) -> str:
    """Return the primary result code, such as SQLITE_CORRUPT for SQLITE_CORRUPT_INDEX; empty for PostgreSQL."""
    return "_".join(str(getattr(cause, "sqlite_errorname", "")).split("_")[:2])


def _first_line(cause: BaseException | None) -> str:
    return (str(cause).strip().splitlines() or ["no reason given"])[0][:_TEXT_LIMIT]
