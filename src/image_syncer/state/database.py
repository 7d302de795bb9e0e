"""Statements in threads: one that writes, one that reads, and a bound for how many wait and for how long.

SQLAlchemy's asyncio extension would need greenlet and aiosqlite, and that is a thread per connection too. A function
that is given to `write` runs in one transaction: it is committed before `write` returns, or not at all.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from image_syncer.state.engines import Lines, writing
from image_syncer.state.errors import StateUnavailable, translated

WAITING_LIMIT: Final = 1000
"""How many calls may wait for one thread; more are refused at once rather than late."""

CALL_SECONDS: Final = 30.0
"""How long a call may wait and work in all."""

_CLOSE_SECONDS: Final = 30.0

T = TypeVar("T")
Work = Callable[[Connection], T]


class Database:
    """Runs functions over a connection; every failure of the database becomes `StateUnavailable` or `StateUnusable`."""

    def __init__(self, engine: Engine, place: str, *, patience: float = CALL_SECONDS) -> None:
        self._engine = engine
        self._place = place
        lines = Lines(engine)
        self._writer = _Lane("state-write", place, lines, patience)
        self._reader = _Lane("state-read", place, lines, patience)

    async def write(self, work: Work[T]) -> T:
        """Return what *work* returns, after its transaction is durable."""
        return await self._writer.run(lambda: self._in_transaction(work, writes=True))

    async def read(self, work: Work[T]) -> T:
        """Return what *work* reads, as one snapshot on SQLite."""
        return await self._reader.run(lambda: self._in_transaction(work, writes=False))

    async def close(self) -> None:
        """Let what runs end, refuse what waits, and close the connections."""
        await self._writer.close()
        await self._reader.close()
        await asyncio.to_thread(self._engine.dispose)

    def _in_transaction(self, work: Work[T], *, writes: bool) -> T:
        try:
            with self._engine.connect() as connection:
                used = writing(connection) if writes else connection
                with used.begin():
                    return work(used)
        except SQLAlchemyError as error:
            raise translated(error, self._place) from error


class _Lane:
    """One thread and those who wait for it."""

    def __init__(self, name: str, place: str, lines: Lines, patience: float) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._place = place
        self._lines = lines
        self._patience = patience
        self._waiting = 0

    async def run(self, call: Callable[[], T]) -> T:
        if self._waiting >= WAITING_LIMIT:
            raise StateUnavailable(f"{self._place}: {WAITING_LIMIT} calls wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError as error:
            # Or the thread would wait for the silent server, and everybody else for the thread.
            self._lines.cut()
            raise StateUnavailable(f"{self._place}: no answer within {self._patience:.0f} s") from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
