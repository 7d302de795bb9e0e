"""Statements in threads: one that writes, one that reads, and a bound for how many wait and for how long.

SQLAlchemy's asyncio extension would need greenlet and aiosqlite, and that is a thread per connection too. A function
that is given to `write` runs in a transaction: it is committed before `write` returns, or not at all.
"""

import asyncio
from typing import Final, TypeVar

from sqlalchemy import Engine

from image_syncer.state.engines import Lines
from image_syncer.state.executor import GroupCommitWriter, Manner, Reader, Work

CALL_SECONDS: Final = 30.0
"""How long a call may wait and work in all."""

T = TypeVar("T")


class Database:
    """Runs functions over a connection; every failure of the database becomes `StateUnavailable` or `StateUnusable`."""

    def __init__(self, engine: Engine, place: str, *, patience: float = CALL_SECONDS) -> None:
        self._engine = engine
        sharing = engine.dialect.name == "sqlite"  # It has one writer at a time, so nobody can be in each other's way.
        manner = Manner(engine, place, Lines(engine), patience, sharing)
        self._writer = GroupCommitWriter("state-write", manner)
        self._reader = Reader("state-read", manner)

    async def write(self, work: Work[T], *, shares: bool = False) -> T:
        """Return what *work* returns, after its transaction is durable.

        *shares* allows that it is the transaction of others too, who would wait for the disk each: for *work* that
        locks no rows which others lock in another order.
        """
        return await self._writer.run(work, shares=shares)

    async def read(self, work: Work[T]) -> T:
        """Return what *work* reads, as one snapshot on SQLite."""
        return await self._reader.run(work)

    async def close(self) -> None:
        """Let what runs end, refuse what waits, and close the connections."""
        await self._writer.close()
        await self._reader.close()
        await asyncio.to_thread(self._engine.dispose)
