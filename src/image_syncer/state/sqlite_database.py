"""The state of a one-shot run: a SQLite file for asyncio by the standard library, without SQLAlchemy.

One thread writes and one reads, each with a connection of its own, so that a read does not wait for the disk.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from image_syncer.state.database_url import SqliteFile
from image_syncer.state.errors import StateUnavailable, StateUnusable, explained
from image_syncer.state.sql_session import SqliteSession, SqlWork
from image_syncer.state.sqlite_file import (
    BEGIN_WRITE,
    connect,
    file_check,
    prepare_file,
    readable_mode,
    warn_if_readable,
)

_CLOSE_SECONDS: Final = 30.0
_BUGS: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)

T = TypeVar("T")


class SqliteDatabase:
    """A `SqlDatabase` in *file*; *patience* is the timeout of a call in seconds."""

    def __init__(self, file: SqliteFile, patience: float) -> None:
        check = file_check(file)
        check()
        self._reader = _Executor("state-read", file, check, patience, begin="BEGIN")
        self._writer = _Executor("state-write", file, check, patience, begin=BEGIN_WRITE)

    async def read_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work*, which sees one snapshot."""
        return await self._reader.run(work)

    async def write_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work* once its transaction is durable.

        The transaction of a caller that is cancelled or times out is rolled back, unless its commit has begun.
        """
        return await self._writer.run(work)

    async def close(self) -> None:
        """Finish the running calls, refuse the waiting ones, and close the connections."""
        async with asyncio.timeout(_CLOSE_SECONDS):
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._reader.close()


@asynccontextmanager
async def open_sqlite_database(
    file: SqliteFile, *, patience: float, warn: Callable[[str], None] | None = None
) -> AsyncGenerator[SqliteDatabase]:
    """Yield the database in *file* after creating or migrating its schema; raises like `open_state`.

    *warn* gets a warning if other users can read the file; None logs it.
    """
    if not await asyncio.to_thread(prepare_file, file):
        await asyncio.to_thread(_migrate, file)
    _check_mode(file, warn)
    database = SqliteDatabase(file, patience)
    try:
        yield database
    finally:
        await database.close()


def _check_mode(file: SqliteFile, warn: Callable[[str], None] | None) -> None:
    if warn is None:
        warn_if_readable(file.path)
        return
    mode = readable_mode(file.path)
    if mode is not None:
        warn(f"{file}: other users can read the file, which names private images (chmod 600 {file.path})")


def _migrate(file: SqliteFile) -> None:
    from image_syncer.extras import has_daemon, install_remedy  # noqa: PLC0415 - for a file of an older version

    if not has_daemon():
        raise StateUnusable(
            f"{file}: it is of an older version, and the libraries that migrate it are not installed",
            remedy=install_remedy("daemon"),
        )
    from image_syncer.state.engines import make_engine  # noqa: PLC0415 - slow imports, for a file of an older version
    from image_syncer.state.migrate import prepare  # noqa: PLC0415

    engine = make_engine(file)
    try:
        prepare(engine, file)
    finally:
        engine.dispose()


class _CallerGone(Exception):
    """The caller of a transaction was cancelled or timed out."""


class _Call:
    """Whether the caller of a transaction is still waiting for it."""

    is_abandoned = False


class _Executor:
    """One thread with one connection, and the calls that wait for it."""

    def __init__(
        self, name: str, file: SqliteFile, check_same_file: Callable[[], None], patience: float, *, begin: str
    ) -> None:
        self._file = file
        self._check_same_file = check_same_file
        self._patience = patience
        self._begin = begin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: SqlWork[T]) -> T:
        """Return the result of *work* in a transaction; if it raises, nothing of it is written."""
        call = _Call()
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, call)
        except TimeoutError as error:
            call.is_abandoned = True
            raise StateUnavailable(f"{self._file}: no answer within {self._patience:.0f} s") from error
        except asyncio.CancelledError:
            call.is_abandoned = True
            raise

    def close(self) -> None:
        """Finish the running call, refuse the waiting ones, and close the connection."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def _transact(self, work: SqlWork[T], call: _Call) -> T:
        try:
            with self._begun() as connection:
                result = work(SqliteSession(connection))
                if call.is_abandoned:
                    raise _CallerGone
                return result
        except sqlite3.Error as error:
            explanation = explained(error, str(self._file))
            if isinstance(error, _BUGS) and explanation.retryable:
                raise
            raise explanation from error

    def _begun(self) -> sqlite3.Connection:
        """Return the connection, in a transaction that ends with its context."""
        self._check_same_file()
        if self._connection is None:
            self._connection = connect(self._file)
        self._connection.execute(self._begin)
        return self._connection
