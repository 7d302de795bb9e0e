"""Procrastinate's connector for a SQLite file, the default store.

Any number of processes may request and list jobs; one at a time works (`lock_file`). The file must be on a local disk,
since write-ahead log and locks do not work on network file systems.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, LiteralString, TypeVar

from procrastinate import sql
from procrastinate.connector import BaseAsyncConnector, BaseConnector, Notify
from procrastinate.exceptions import AppNotOpen, ConnectorException, UniqueViolation
from procrastinate.manager import QUEUEING_LOCK_CONSTRAINT

from image_syncer.errors import UsageError
from image_syncer.jobs.queries import QUERIES
from image_syncer.jobs.sqlite_queries import Note, Row, SqliteTransaction
from image_syncer.jobs.sqlite_schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from image_syncer.state import warn_if_readable

_T = TypeVar("_T")
_OLDEST: Final = (3, 38, 0)  # json_each without an option, RETURNING


class SqliteConnector(BaseAsyncConnector):
    """Executes the named queries on the file at *path*, one transaction each, in a thread of its own.

    A transaction waits up to *patience* seconds for another process, then fails with `ConnectorException`.
    """

    def __init__(self, path: Path, *, patience: float = 5.0) -> None:
        self.path: Final = path
        self._patience = patience
        self._names: Mapping[str, str] = {text: name for name, text in (sql.queries | dict(QUERIES)).items()}
        self._listeners: list[tuple[frozenset[str], Notify]] = []
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    def get_sync_connector(self) -> BaseConnector:
        """Return itself: Procrastinate's blocking calls use the same thread."""
        return self

    async def open_async(self, pool: Any = None) -> None:  # noqa: ARG002 - Procrastinate's signature
        """Open the file and create or migrate its schema; `UsageError` for a permanent failure."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs-sqlite")
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown()
            self._thread = None
            raise

    async def close_async(self) -> None:
        """Close the file after the running transaction."""
        if self._thread is not None:
            await self._in_thread(self._close)
            self._thread.shutdown()
            self._thread = None

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """Execute *query*."""
        await self._execute(query, arguments)

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> Row:
        """Return the first row of *query*; `ConnectorException` without one."""
        rows = await self._execute(query, arguments)
        if not rows:
            raise ConnectorException(f"{self._names[query]}: no row")
        return rows[0]

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> list[Row]:
        """Return all rows of *query*."""
        return list(await self._execute(query, arguments))

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Call *on_notification* for writes of this process until cancelled; others' writes are found by polling."""
        listener = (frozenset(channels), on_notification)
        self._listeners.append(listener)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.remove(listener)

    async def _execute(self, query: str, arguments: Mapping[str, Any]) -> Sequence[Row]:
        rows, notes = await self._in_thread(self._transact, self._names[query], arguments)
        for queue, note in notes:
            channels = {"procrastinate_any_queue_v1", f"procrastinate_queue_v1#{queue}"}
            for wanted, notify in list(self._listeners):
                for channel in wanted & channels:
                    await notify(channel=channel, payload=json.dumps(note))
        return rows

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        if self._thread is None:
            raise AppNotOpen
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _transact(self, name: str, arguments: Mapping[str, Any]) -> tuple[Sequence[Row], Sequence[Note]]:
        database = self._database
        if database is None:
            raise AppNotOpen
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                transaction = SqliteTransaction(database, time.time())
                rows = transaction.execute(name, arguments)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _translated(error) from error
        return rows, transaction.notes

    def _open(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise UsageError(
                f"jobs: SQLite {sqlite3.sqlite_version} is too old, {'.'.join(map(str, _OLDEST))} is needed",
                remedy="use a Python with a newer SQLite, or keep the jobs in PostgreSQL",
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            warn_if_readable(self.path)
            database = sqlite3.connect(self.path, isolation_level=None, timeout=self._patience)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"jobs: {self.path} cannot be opened", remedy="check the path and its permissions"
            ) from error
        try:
            self._prepare_with_others(database)
        except sqlite3.Error as error:
            database.close()
            raise _translated(error) from error
        except BaseException:
            database.close()
            raise
        self._database = database

    def _prepare_with_others(self, database: sqlite3.Connection) -> None:
        """Prepare the file, with retries: the switch to WAL fails at once while another process does the same."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._prepare(database)
            except sqlite3.OperationalError:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def _prepare(self, database: sqlite3.Connection) -> None:
        # In one snapshot, since another process may be creating the tables.
        database.execute("BEGIN")
        [owner], [version] = (
            database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        is_foreign = owner != APPLICATION_ID and (owner or database.execute("SELECT 1 FROM sqlite_master").fetchone())
        database.execute("COMMIT")
        if is_foreign or version > SCHEMA_VERSION:
            raise UsageError(
                f"jobs: {self.path}: " + ("a database of another program" if is_foreign else "of a newer image-syncer"),
                remedy="choose another file" if is_foreign else "use that version or a later one, or another file",
            )
        # Acknowledged writes must survive a power cut: every commit syncs the log.
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "journal_size_limit = 67108864",
        ):
            database.execute(f"PRAGMA {pragma}")
        if version < SCHEMA_VERSION:
            self._migrate(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        # Read again under the lock: another process may have migrated the file meanwhile.
        [version] = database.execute("PRAGMA user_version").fetchone()
        for statement in _statements("".join(MIGRATIONS[version:])):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of *script*; `executescript` would commit the transaction that they belong to."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _translated(error: sqlite3.Error) -> ConnectorException:
    """Return *error* as an exception of Procrastinate."""
    if isinstance(error, sqlite3.IntegrityError) and "jobs.queueing_lock" in str(error):
        return UniqueViolation(constraint_name=QUEUEING_LOCK_CONSTRAINT, queueing_lock=None)
    return ConnectorException(f"SQLite: {error}")
