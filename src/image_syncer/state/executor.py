"""The threads that use the database: a reader, and a writer with group commit.

A transaction waits for the disk once. Writes that arrive during a transaction share the next one, so a burst of
notifications waits for at most two transactions instead of one each.
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
"""The most calls that wait for one thread; further ones fail at once."""

_CLOSE_SECONDS: Final = 30.0
_GROUP_LIMIT: Final = 100

T = TypeVar("T")
Work = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """Settings of both threads. *patience* is the timeout of a call in seconds; *place* names the database.

    With *sharing*, any writes may share a transaction. Otherwise only calls that opt in may, since two processes that
    lock the same rows in different orders deadlock.
    """

    engine: Engine
    place: str
    connections: OpenConnections
    patience: float
    sharing: bool


class _Executor:
    """One thread and the calls that wait for it."""

    def __init__(self, name: str, settings: ExecutorSettings) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._settings = settings
        self._waiting = 0

    async def close(self) -> None:
        """Finish the running call, and refuse the waiting ones."""
        async with asyncio.timeout(_CLOSE_SECONDS):
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _bounded(self, submit: Callable[[], asyncio.Future[T]]) -> T:
        place, patience = self._settings.place, self._settings.patience
        if self._waiting >= WAITING_LIMIT:
            raise StateUnavailable(f"{place}: {WAITING_LIMIT} calls are waiting already")
        self._waiting += 1
        try:
            async with asyncio.timeout(patience):
                return await submit()
        except TimeoutError as error:
            # Otherwise the thread goes on waiting for the silent server, and all other calls for the thread.
            self._settings.connections.shut_down()
            raise StateUnavailable(f"{place}: no answer within {patience:.0f} s") from error
        finally:
            self._waiting -= 1


class ReadExecutor(_Executor):
    """The reader thread."""

    async def run(self, work: Work[T]) -> T:
        """Return the result of *work*."""
        loop = asyncio.get_running_loop()
        return await self._bounded(lambda: loop.run_in_executor(self._threads, self._read, work))

    def _read(self, work: Work[T]) -> T:
        try:
            with self._settings.engine.connect() as connection, connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            raise translated(error, self._settings.place) from error


class _CallerGone(Exception):
    """The caller of a write was cancelled or timed out."""


@dataclass(slots=True)
class _PendingWrite(Generic[T]):
    """A waiting write and its future result."""

    work: Work[T]
    shares: bool
    answer: Future[T] = field(default_factory=Future[T])
    is_abandoned: bool = False
    result: T | None = None
    failure: Exception | None = None

    def check_wanted(self) -> None:
        """Raise if the caller is gone: it reports a failure, so its write must not be committed."""
        if self.is_abandoned:
            raise _CallerGone


class GroupCommitWriter(_Executor):
    """The writer thread."""

    def __init__(self, name: str, settings: ExecutorSettings) -> None:
        super().__init__(name, settings)
        self._queue: deque[_PendingWrite[Any]] = deque()

    async def run(self, work: Work[T], *, shares: bool) -> T:
        """Return the result of *work* once its transaction is durable. If it raises, nothing of it is written.

        *shares* permits a common transaction with other such writes; a failing one is rolled back alone. A write whose
        caller is cancelled is rolled back too, unless its commit has begun.
        """
        entry = _PendingWrite(work, shares or self._settings.sharing)
        try:
            return await self._bounded(lambda: self._submit(entry))
        except (asyncio.CancelledError, StateUnavailable):
            entry.is_abandoned = True
            raise

    async def close(self) -> None:
        """Finish the running call, and refuse the waiting ones."""
        try:
            await super().close()
        finally:
            while self._queue:
                self._queue.popleft().answer.cancel()

    def _submit(self, entry: _PendingWrite[T]) -> asyncio.Future[T]:
        self._queue.append(entry)
        # One task per write; many find an empty queue, since an earlier one took several writes.
        self._threads.submit(self._write_group)
        return asyncio.wrap_future(entry.answer)

    def _write_group(self) -> None:
        group = self._next_group()
        if not group:
            return
        try:
            with self._settings.engine.connect() as connection:
                used = writing(connection)
                with used.begin():
                    for entry in group:
                        self._write(entry, used, alone=len(group) == 1)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            for entry in group:
                entry.failure = entry.failure or error
        for entry in group:
            self._resolve(entry)

    def _next_group(self) -> Sequence[_PendingWrite[Any]]:
        group: list[_PendingWrite[Any]] = []
        while self._queue and len(group) < _GROUP_LIMIT:
            if group and not (group[0].shares and self._queue[0].shares):
                break
            entry = self._queue.popleft()
            if entry.answer.set_running_or_notify_cancel():  # False if the caller stopped waiting.
                group.append(entry)
        return group

    def _write(self, entry: _PendingWrite[Any], connection: Connection, *, alone: bool) -> None:
        try:
            with nullcontext() if alone else connection.begin_nested():
                entry.result = entry.work(connection)
                entry.check_wanted()
        except Exception as error:
            entry.failure = error
            if alone:
                raise

    def _resolve(self, entry: _PendingWrite[Any]) -> None:
        match entry.failure:
            case None:
                entry.answer.set_result(entry.result)
            case SQLAlchemyError() as error:
                failure = translated(error, self._settings.place)
                failure.__cause__ = error
                entry.answer.set_exception(failure)
            case error:
                entry.answer.set_exception(error)
