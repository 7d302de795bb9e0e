"""SQLAlchemy engines with the settings on which our promises rest, and a bound for every wait."""

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from image_syncer.state.database_url import DatabaseLocation, PostgresDatabase, SqliteFile
from image_syncer.state.errors import StateUnavailable

if TYPE_CHECKING:
    import psycopg  # It takes 0.1 s of CPU to import, and a file needs none of it.

POOL_SIZE: Final = 2  # One thread writes, one reads.
LOCK_SECONDS: Final = 5
"""How long a statement waits for what another process has locked."""

STATEMENT_SECONDS: Final = 10
"""How long a statement of PostgreSQL may take, and how long its silence is believed."""

_CONNECT_SECONDS: Final = 5
# For each transaction, not as start-up options: a pooler refuses those. A server whose default is
# `synchronous_commit = off` would acknowledge what a crash may lose.
_BOUND: Final = f"""
    SELECT set_config('statement_timeout', '{STATEMENT_SECONDS}s', true),
           set_config('lock_timeout', '{LOCK_SECONDS}s', true),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                      ELSE current_setting('synchronous_commit') END, true)
"""
_WRITES: Final = "image_syncer_writes"


def writing(connection: Connection) -> Connection:
    """Return *connection* such that its next transaction takes SQLite's write lock at once.

    A transaction that begins as a reader and writes later fails at once, without a wait, where another wrote meanwhile.
    """
    return connection.execution_options(**{_WRITES: True})


def make_engine(place: DatabaseLocation) -> Engine:
    """Return an engine for *place*; nothing is opened yet."""
    if isinstance(place, SqliteFile):
        return _sqlite(place)
    return _postgres(place)


class OpenConnections:
    """The open connections of an engine to a server, to be cut where the server has fallen silent.

    libpq waits for an answer without end, and TCP finds only a dead machine, not a stopped process.
    """

    def __init__(self, engine: Engine) -> None:
        self._open: dict[int, psycopg.Connection[Any]] = {}
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", self._opened)
            event.listen(engine, "close", self._closed)

    def shut_down(self) -> None:
        """End every connection: who waits for an answer gets an error, and the next call a new connection."""
        if not self._open:
            return
        import psycopg  # noqa: PLC0415 - as above

        for connection in list(self._open.values()):
            # Closed in the meantime, or by the server: then nobody waits on it.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _opened(self, connection: "psycopg.Connection[Any]", _record: object) -> None:
        self._open[id(connection)] = connection

    def _closed(self, connection: object, _record: object) -> None:
        self._open.pop(id(connection), None)


def _postgres(place: PostgresDatabase) -> Engine:
    import psycopg  # noqa: PLC0415 - as above

    def connect() -> psycopg.Connection:
        return psycopg.connect(
            place.conninfo,
            connect_timeout=_CONNECT_SECONDS,
            application_name="image-syncer state",
            prepare_threshold=None,  # Prepared statements do not survive a pooler between us and the server.
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
        pool_pre_ping=True,  # After an outage the first statement finds a new connection by itself.
    )

    def bound(connection: Connection) -> None:
        connection.exec_driver_sql(_BOUND)

    event.listen(engine, "begin", bound)
    return engine


def _sqlite(place: SqliteFile) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: the driver begins nothing by itself, so that DDL is part of a transaction too.
        connection = sqlite3.connect(
            place.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "journal_size_limit = 67108864"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=LOCK_SECONDS,
    )
    same_file = _watch(place)

    def begin(connection: Connection) -> None:
        same_file()
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "begin", begin)
    return engine


def _watch(place: SqliteFile) -> Callable[[], None]:
    """Return a check that the path still names the file that was opened.

    Without it, what is written after somebody removed the file would be acknowledged and lost with the last handle.
    """
    seen: list[tuple[int, int]] = []

    def check() -> None:
        try:
            status = place.path.stat()
        except OSError as error:
            raise StateUnavailable(
                f"{place}: {error.strerror or 'gone'} while in use", remedy="put it back or start again"
            ) from error
        identity = (status.st_dev, status.st_ino)
        if not seen:
            seen.append(identity)
        if seen[0] != identity:
            raise StateUnavailable(f"{place}: replaced by another file while in use", remedy="start again")

    return check
