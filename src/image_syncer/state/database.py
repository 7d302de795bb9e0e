"""A database for asyncio: one thread writes, one reads, and the number and the time of waiting calls are bounded.

SQLAlchemy's asyncio extension would need greenlet and aiosqlite, which is a thread per connection too. A function
that is passed to `write` runs in a transaction, which is committed before `write` returns, or not at all.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import Engine

from image_syncer.state.engines import OpenConnections
from image_syncer.state.executor import ExecutorSettings, GroupCommitWriter, ReadExecutor, Work

CALL_SECONDS: Final = 30.0
"""The longest time of one call, waiting included."""

PAGE_LIMIT: Final = 1000
"""The most rows of one page."""

_CHUNK: Final = 500  # Both databases take many more parameters in one statement.

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

    async def close(self) -> None:
        """Finish the running calls, refuse the waiting ones, and close the connections."""
        await self._writer.close()
        await self._reader.close()
        await asyncio.to_thread(self._engine.dispose)


def page_size(wanted: int) -> int:
    """Return *wanted* if it is between 1 and `PAGE_LIMIT`; `ValueError` otherwise."""
    if not 1 <= wanted <= PAGE_LIMIT:
        raise ValueError(f"a page has 1 to {PAGE_LIMIT} entries, not {wanted}")
    return wanted


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield *items* in slices that fit into one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
