"""SQLAlchemy engines with durable commits and a bound for every wait."""

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from image_syncer.state import sqlite_file
from image_syncer.state.database_url import DatabaseLocation, PostgresDatabase, SqliteFile
from image_syncer.state.sqlite_file import LOCK_SECONDS

if TYPE_CHECKING:
    import psycopg  # Its import takes 0.1 s of CPU, which a file does not need.

POOL_SIZE: Final = 2  # One writer thread and one reader thread.
STATEMENT_SECONDS: Final = 10
"""Timeout of a statement of PostgreSQL, and of a silent connection."""

_CONNECT_SECONDS: Final = 5
# Set per transaction, since poolers refuse start-up options. A server with `synchronous_commit = off` would
# acknowledge writes that a crash may lose.
_BOUND: Final = f"""
    SELECT set_config('statement_timeout', '{STATEMENT_SECONDS}s', true),
           set_config('lock_timeout', '{LOCK_SECONDS}s', true),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                      ELSE current_setting('synchronous_commit') END, true)
"""
_WRITES: Final = "image_syncer_writes"


def writing(connection: Connection) -> Connection:
    """Return *connection* such that its next transaction takes SQLite's write lock at its start (`BEGIN_WRITE`)."""
    return connection.execution_options(**{_WRITES: True})


def make_engine(location: DatabaseLocation) -> Engine:
    """Return an engine for *location*, without a connection yet."""
    if isinstance(location, SqliteFile):
        return _sqlite(location)
    return _postgres(location)


class OpenConnections:
    """The open connections of an engine to a server, so that they can be shut down when the server stops answering.

    libpq waits for an answer without a limit, and TCP notices a dead machine but not a stopped process.
    """

    def __init__(self, engine: Engine) -> None:
        self._open: dict[int, psycopg.Connection[Any]] = {}
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", self._add)
            event.listen(engine, "close", self._remove)

    def shut_down(self) -> None:
        """Shut down every connection: waiting calls fail, and the next call opens a new connection."""
        if not self._open:
            return
        import psycopg  # noqa: PLC0415 - takes 0.1 s of CPU

        for connection in list(self._open.values()):
            # The connection may be closed already; then no call waits on it.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    def _add(self, connection: "psycopg.Connection[Any]", _record: object) -> None:
        self._open[id(connection)] = connection

    def _remove(self, connection: object, _record: object) -> None:
        self._open.pop(id(connection), None)


def _postgres(database: PostgresDatabase) -> Engine:
    import psycopg  # noqa: PLC0415 - takes 0.1 s of CPU

    def connect() -> psycopg.Connection:
        return psycopg.connect(
            database.conninfo,
            connect_timeout=_CONNECT_SECONDS,
            application_name="image-syncer state",
            prepare_threshold=None,  # Prepared statements do not work through a pooler.
            keepalives_idle=STATEMENT_SECONDS,
            keepalives_interval=3,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_SECONDS * 1000,
        )

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=LOCK_SECONDS,
        pool_pre_ping=True,  # The first statement after an outage gets a new connection.
    )

    def set_bounds(connection: Connection) -> None:
        connection.exec_driver_sql(_BOUND)

    event.listen(engine, "begin", set_bounds)
    return engine


def _sqlite(file: SqliteFile) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite_file.connect(file),
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=LOCK_SECONDS,
    )
    check_same_file = sqlite_file.file_check(file)

    def begin(connection: Connection) -> None:
        check_same_file()
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql(sqlite_file.BEGIN_WRITE if writes else "BEGIN")

    event.listen(engine, "begin", begin)
    return engine
