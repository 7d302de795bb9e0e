"""A database for asyncio: one thread writes, one reads, and the number and the time of waiting calls are bounded.

SQLAlchemy's asyncio extension would need greenlet and aiosqlite, which is a thread per connection too. A function
that is passed to `write` runs in a transaction, which is committed before `write` returns, or not at all.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, TextClause, text

from image_syncer.state.engines import OpenConnections
from image_syncer.state.executor import ExecutorSettings, GroupCommitWriter, ReadExecutor, Work
from image_syncer.state.sql_session import Row, SqlWork, Values

CALL_SECONDS: Final = 30.0
"""The longest time of one call, waiting included."""

PAGE_LIMIT: Final = 1000
"""The most rows of one page."""

T = TypeVar("T")


class Database:
    """Runs functions with a connection. Failures of the database become `StateUnavailable` or `StateUnusable`."""

    def __init__(self, engine: Engine, place: str, *, patience: float = CALL_SECONDS) -> None:
        self._engine = engine
        sharing = engine.dialect.name == "sqlite"  # It has one writer at a time, so writers cannot deadlock.
        settings = ExecutorSettings(engine, place, OpenConnections(engine), patience, sharing)
        self._writer = GroupCommitWriter("state-write", settings)
        self._reader = ReadExecutor("state-read", settings)

    async def write(self, work: Work[T], *, shares: bool = False) -> T:
        """Return the result of *work* once its transaction is durable.

        *shares* permits group commit, which waits for the disk once for several calls. Only for *work* that locks rows
        in the same order as all other work.
        """
        return await self._writer.run(work, shares=shares)

    async def read(self, work: Work[T]) -> T:
        """Return the result of *work*, which sees one snapshot on SQLite."""
        return await self._reader.run(work)

    async def read_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work* on SQL text."""
        return await self.read(lambda connection: work(_Session(connection)))

    async def write_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work* on SQL text, once its transaction is durable."""
        return await self.write(lambda connection: work(_Session(connection)))

    async def close(self) -> None:
        """Finish the running calls, refuse the waiting ones, and close the connections."""
        await self._writer.close()
        await self._reader.close()
        await asyncio.to_thread(self._engine.dispose)


class _Session:
    """`SqlSession` over a connection of SQLAlchemy."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """Return the rows that *sql* selects."""
        return self._connection.execute(_parsed(sql), dict(values)).all()

    def change(self, sql: str, values: Values) -> int:
        """Execute *sql* and return the number of rows that it changed."""
        return self._connection.execute(_parsed(sql), dict(values)).rowcount

    def change_each(self, sql: str, many: Sequence[Values]) -> None:
        """Execute *sql* once for each of *many*."""
        self._connection.execute(_parsed(sql), [dict(values) for values in many])


@lru_cache(maxsize=200)
def _parsed(sql: str) -> TextClause:
    return text(sql)


def page_size(wanted: int) -> int:
    """Return *wanted* if it is between 1 and `PAGE_LIMIT`; `ValueError` otherwise."""
    if not 1 <= wanted <= PAGE_LIMIT:
        raise ValueError(f"a page has 1 to {PAGE_LIMIT} entries, not {wanted}")
    return wanted
