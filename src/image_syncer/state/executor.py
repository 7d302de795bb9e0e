"""Threads that wait for the database: one reads; one writes, and takes all that waits into one transaction.

What costs is the disk, which is waited for once in each transaction. Where writers come faster than it bears, those who
wait share the next transaction, so a burst of notifications waits for two of them at most, not for one each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from image_syncer.state.engines import OpenConnections, writing
from image_syncer.state.errors import StateUnavailable, translated

WAITING_LIMIT: Final = 1000
"""How many calls may wait for one thread; more are refused at once rather than late."""

_CLOSE_SECONDS: Final = 30.0
_GROUP_LIMIT: Final = 100

T = TypeVar("T")
Work = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How lanes treat the database at *place*: each call has *patience* seconds in all.

    With *sharing*, any calls may be written in one transaction; else only those that say so, since two processes that
    lock the same rows in different orders would end each other's.
    """

    engine: Engine
    place: str
    lines: OpenConnections
    patience: float
    sharing: bool


class _Executor:
    """One thread and those who wait for it."""

    def __init__(self, name: str, manner: ExecutorSettings) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._manner = manner
        self._waiting = 0

    async def close(self) -> None:
        """Let what runs end, and refuse what waits."""
        async with asyncio.timeout(_CLOSE_SECONDS):
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _answer(self, ask: Callable[[], asyncio.Future[T]]) -> T:
        place, patience = self._manner.place, self._manner.patience
        if self._waiting >= WAITING_LIMIT:
            raise StateUnavailable(f"{place}: {WAITING_LIMIT} calls wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except TimeoutError as error:
            # Or the thread would wait for the silent server, and everybody else for the thread.
            self._manner.lines.shut_down()
            raise StateUnavailable(f"{place}: no answer within {patience:.0f} s") from error
        finally:
            self._waiting -= 1


class ReadExecutor(_Executor):
    """The thread that reads."""

    async def run(self, work: Work[T]) -> T:
        """Return what *work* reads."""
        loop = asyncio.get_running_loop()
        return await self._answer(lambda: loop.run_in_executor(self._threads, self._read, work))

    def _read(self, work: Work[T]) -> T:
        try:
            with self._manner.engine.connect() as connection, connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            raise translated(error, self._manner.place) from error


@dataclass(slots=True)
class _PendingWrite(Generic[T]):
    """A call that waits, and its future answer."""

    work: Work[T]
    shares: bool
    answer: Future[T] = field(default_factory=Future[T])
    result: T | None = None
    failure: Exception | None = None


class GroupCommitWriter(_Executor):
    """The thread that writes."""

    def __init__(self, name: str, manner: ExecutorSettings) -> None:
        super().__init__(name, manner)
        self._queue: deque[_PendingWrite[Any]] = deque()

    async def run(self, work: Work[T], *, shares: bool) -> T:
        """Return what *work* returns once its transaction is durable, or raise, and then nothing of it is written.

        *shares* says that its transaction may be that of others who say so; a failure stays each one's own.
        """
        entry = _PendingWrite(work, shares or self._manner.sharing)
        return await self._answer(lambda: self._enter(entry))

    async def close(self) -> None:
        """Let what runs end, and refuse what waits."""
        try:
            await super().close()
        finally:
            while self._queue:
                self._queue.popleft().answer.cancel()

    def _enter(self, entry: _PendingWrite[T]) -> asyncio.Future[T]:
        self._queue.append(entry)
        # One look for each entry. Many find nothing, since an earlier look took several.
        self._threads.submit(self._look)
        return asyncio.wrap_future(entry.answer)

    def _look(self) -> None:
        group = self._next_group()
        if not group:
            return
        try:
            with self._manner.engine.connect() as connection:
                used = writing(connection)
                with used.begin():
                    for entry in group:
                        self._write(entry, used, alone=len(group) == 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller gets it
            for entry in group:
                entry.failure = entry.failure or error
        for entry in group:
            self._tell(entry)

    def _next_group(self) -> Sequence[_PendingWrite[Any]]:
        group: list[_PendingWrite[Any]] = []
        while self._queue and len(group) < _GROUP_LIMIT:
            if group and not (group[0].shares and self._queue[0].shares):
                break
            entry = self._queue.popleft()
            if entry.answer.set_running_or_notify_cancel():  # Who does not wait any more wants nothing.
                group.append(entry)
        return group

    def _write(self, entry: _PendingWrite[Any], connection: Connection, *, alone: bool) -> None:
        try:
            with nullcontext() if alone else connection.begin_nested():
                entry.result = entry.work(connection)
        except Exception as error:
            entry.failure = error
            if alone:
                raise

    def _tell(self, entry: _PendingWrite[Any]) -> None:
        match entry.failure:
            case None:
                entry.answer.set_result(entry.result)
            case SQLAlchemyError() as error:
                failure = translated(error, self._manner.place)
                failure.__cause__ = error
                entry.answer.set_exception(failure)
            case error:
                entry.answer.set_exception(error)
