"""Create or migrate the schema at start; a lock makes it happen once for processes that start together."""

import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from image_syncer.state.database_url import DatabaseLocation, SqliteFile
from image_syncer.state.engines import LOCK_SECONDS, writing
from image_syncer.state.errors import StateUnusable, explained, translated
from image_syncer.state.tables import REVISIONS, SQLITE_TRIGGERS, VERSION_TABLE, metadata

MIGRATION_LOCK: Final = 0x696D6167
"""PostgreSQL's advisory lock for the migrations of state and jobs, held until the transaction ends."""

_WAIT_SECONDS: Final = 60  # for the migration of another process
_MIGRATION_SECONDS: Final = 600
APPLICATION_ID: Final = 0x69735374
"""SQLite's application_id of a state file."""

_version: Final = Table(  # As Alembic creates it.
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def prepare(engine: Engine, location: DatabaseLocation) -> None:
    """Create or migrate the schema; `StateUnusable` if it is another program's or newer than this version."""
    if isinstance(location, SqliteFile):
        _make_file(location)
        _use_wal(location)
    try:
        with engine.connect() as connection, writing(connection).begin():
            # On SQLite the write transaction is the lock.
            if isinstance(location, SqliteFile):
                _claim_file(connection, location)
            else:
                _take_lock(connection)
            _migrate(connection, location)
    except SQLAlchemyError as error:
        raise translated(error, str(location)) from error


def refuse_foreign(file: SqliteFile) -> None:
    """Raise `StateUnusable` if the file is another program's database.

    A file that is no database passes, since it may be a damaged state.
    """
    try:
        with closing(sqlite3.connect(file.path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return
    if found != APPLICATION_ID and (found or tables):
        raise _foreign(file)


def warn_if_readable(path: Path) -> None:
    """Log a warning if other users can read the file at *path*, which names private images and upload addresses."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        log: Any = structlog.get_logger()
        log.warning("state.readable_by_others", file=str(path), mode=f"{mode:04o}", remedy=f"chmod 600 {path}")


def _take_lock(connection: Connection) -> None:
    for name, seconds in (("lock_timeout", _WAIT_SECONDS), ("statement_timeout", _MIGRATION_SECONDS)):
        connection.execute(select(func.set_config(name, f"{seconds}s", True)))  # noqa: FBT003 - local to the transaction
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def _migrate(connection: Connection, location: DatabaseLocation) -> None:
    revision = _revision(connection)
    if revision == REVISIONS[-1]:
        return
    if revision is not None and revision not in REVISIONS:
        raise StateUnusable(
            f"{location}: written by a newer image-syncer (schema {revision[:40]!r}, this one knows {REVISIONS[-1]!r})",
            remedy="use that version or a later one, or another state",
        )
    if revision is None and isinstance(location, SqliteFile):
        _make_new(connection)
    else:
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # A slow import, which a file needs only after an upgrade.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make_new(connection: Connection) -> None:
    """Create the current tables directly: same result as all migrations, in a tenth of the time."""
    metadata.create_all(connection, checkfirst=False)
    for trigger in SQLITE_TRIGGERS:
        connection.exec_driver_sql(trigger)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=REVISIONS[-1]))


def _revision(connection: Connection) -> str | None:
    """Return the schema's revision, None for an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def _make_file(file: SqliteFile) -> None:
    """Create an empty file that only its owner may read, if there is none."""
    try:
        file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        warn_if_readable(file.path)
    except OSError as error:
        raise StateUnusable(
            f"{file}: {error.strerror or 'cannot be opened'}", remedy="check the path and its permissions"
        ) from error


def _use_wal(file: SqliteFile) -> None:
    """Switch the file to a write-ahead log, so that readers and the writer do not block each other.

    SQLite itself does not wait when several processes switch a new file at once.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with closing(sqlite3.connect(file.path, timeout=LOCK_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError) or time.monotonic() > deadline:
                raise explained(error, str(file)) from error
            time.sleep(0.05)
        else:
            return


def _claim_file(connection: Connection, file: SqliteFile) -> None:
    """Mark a new file as a state; `StateUnusable` if it is another program's."""
    found = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if found == APPLICATION_ID:
        return
    if found != 0 or inspect(connection).get_table_names():
        raise _foreign(file)
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def _foreign(file: SqliteFile) -> StateUnusable:
    return StateUnusable(f"{file}: a database of another program", remedy="choose another file")
