"""The state as a SQLite file, by the standard library alone: open it, recognise it, and create its tables.

SQLAlchemy and Alembic are needed only to migrate a file of an older version; their import takes longer than many a run.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from image_syncer.state.database_url import SqliteFile
from image_syncer.state.errors import StateUnavailable, StateUnusable, explained
from image_syncer.state.revisions import APPLICATION_ID, REVISIONS, VERSION_TABLE

LOCK_SECONDS: Final = 5
"""How long a statement waits for a lock of another process."""

BEGIN_WRITE: Final = "BEGIN IMMEDIATE"
"""Begins a transaction that takes the write lock at its start.

A transaction that starts as a reader and writes later fails without waiting if another process wrote meanwhile.
"""

_SCHEMA: Final = Path(__file__).with_name("schema.sql")
_PRAGMAS: Final = ("synchronous = FULL", "foreign_keys = ON", "journal_size_limit = 67108864")


def connect(file: SqliteFile) -> sqlite3.Connection:
    """Return a connection with durable commits, for any thread."""
    # isolation_level None: the driver starts no transaction, so that DDL is transactional too.
    connection = sqlite3.connect(
        file.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_file(file: SqliteFile) -> bool:
    """Create the file and its tables where there are none; return whether it has the schema of this version.

    False for an older schema. `StateUnusable` if it is damaged, another program's or newer than this version.
    """
    _make_file(file)
    try:
        with closing(connect(file)) as connection:
            _use_wal(connection, file)
            # Most runs find the tables of their own version, and wait for no other process.
            return _is_current(connection, file) or _create(connection, file)
    except sqlite3.Error as error:
        raise explained(error, str(file)) from error


def refuse_foreign(file: SqliteFile) -> None:
    """Raise `StateUnusable` if the file is another program's database.

    A file that is no database passes, since it may be a damaged state.
    """
    try:
        with closing(sqlite3.connect(file.path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            is_foreign = _is_foreign(connection)
    except sqlite3.Error:
        return
    if is_foreign:
        raise _foreign(file)


def readable_mode(path: Path) -> int | None:
    """Return the mode of the file at *path*, which names private images, if other users can read it; else None."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode if mode & (stat.S_IRGRP | stat.S_IROTH) else None


def warn_if_readable(path: Path) -> None:
    """Log a warning if other users can read the file at *path*."""
    mode = readable_mode(path)
    if mode is not None:
        import structlog  # noqa: PLC0415 - a slow import, which few files need

        log: Any = structlog.get_logger()
        log.warning("state.readable_by_others", file=str(path), mode=f"{mode:04o}", remedy=f"chmod 600 {path}")


def file_check(file: SqliteFile) -> Callable[[], None]:
    """Return a check that the path still names the file that was opened.

    Otherwise a write after the removal of the file would be acknowledged and lost with the last handle.
    """
    first: list[tuple[int, int]] = []

    def check() -> None:
        try:
            status = file.path.stat()
        except OSError as error:
            raise StateUnavailable(
                f"{file}: {error.strerror or 'gone'} while in use", remedy="restore the file or restart"
            ) from error
        identity = (status.st_dev, status.st_ino)
        if not first:
            first.append(identity)
        if first[0] != identity:
            raise StateUnavailable(f"{file}: replaced by another file while in use", remedy="restart")

    return check


def check_revision(revision: str | None, place: object) -> bool:
    """Return whether *revision* is that of this version; `StateUnusable` for one that it does not know."""
    if revision is not None and revision not in REVISIONS:
        raise StateUnusable(
            f"{place}: written by a newer image-syncer (schema {revision[:40]!r}, this one knows {REVISIONS[-1]!r})",
            remedy="use that version or a later one, or another state",
        )
    return revision == REVISIONS[-1]


def schema_statements() -> list[str]:
    """Return the statements that create the tables of this version; empty lines separate them in the file."""
    return [statement.strip() for statement in _SCHEMA.read_text(encoding="utf-8").split("\n\n") if statement.strip()]


def _make_file(file: SqliteFile) -> None:
    """Create an empty file that only its owner may read, if there is none."""
    try:
        file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StateUnusable(
            f"{file}: {error.strerror or 'cannot be opened'}", remedy="check the path and its permissions"
        ) from error


def _use_wal(connection: sqlite3.Connection, file: SqliteFile) -> None:
    """Switch the file to a write-ahead log, so that readers and the writer do not block each other.

    `StateUnusable` for the file of another program, which stays as it is.

    SQLite itself does not wait when several processes switch a new file at once.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            if _is_foreign(connection):
                raise _foreign(file)
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _is_current(connection: sqlite3.Connection, file: SqliteFile) -> bool:
    return _is_claimed(connection) and check_revision(_revision(connection), file)


def _create(connection: sqlite3.Connection, file: SqliteFile) -> bool:
    """Create the tables in an empty file; the write lock makes it happen once for processes that start together."""
    connection.execute(BEGIN_WRITE)
    with connection:
        if _is_foreign(connection):
            raise _foreign(file)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        revision = _revision(connection)
        if revision is not None:
            return check_revision(revision, file)
        for statement in schema_statements():
            connection.execute(statement)
        connection.execute(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (?)", (REVISIONS[-1],))  # noqa: S608 - our table
    return True


def _is_claimed(connection: sqlite3.Connection) -> bool:
    return connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def _is_foreign(connection: sqlite3.Connection) -> bool:
    """Whether the file has the mark of another program, or tables without a mark."""
    # In this order, since another process may create our tables in between, together with the mark.
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    ((found,),) = connection.execute("PRAGMA application_id")
    return found != APPLICATION_ID and bool(found or tables)


def _revision(connection: sqlite3.Connection) -> str | None:
    """Return the schema's revision, None for an empty database."""
    has_version = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,)).fetchone()
    if has_version is None:
        return None
    found = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - our table
    return None if found is None else found[0]


def _foreign(file: SqliteFile) -> StateUnusable:
    return StateUnusable(f"{file}: a database of another program", remedy="choose another file")
