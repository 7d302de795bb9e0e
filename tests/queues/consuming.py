"""A consumer under test, between a real broker and a real state."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from structlog.testing import capture_logs

from image_syncer.config.model import QueueSettings
from image_syncer.daemon.event_recorder import EventRecorder, LiveConfig
from image_syncer.queues import consume
from image_syncer.state import State


@dataclass(frozen=True, slots=True)
class EventStore:
    """A state in *file*, and the *sink* that records events in it."""

    state: State
    sink: EventRecorder
    file: Path

    async def tags(self) -> list[str]:
        """Return the tags of all recorded events, oldest first."""
        return [event.tag for event in await self.state.events.list_pending(1000)]

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the write lock of the file, as another process could, so that recording fails."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


def make_store(state: State, file: Path) -> EventStore:
    """Return a store without rules: every event is recorded, whether a rule matches it or not."""
    return EventStore(
        state, EventRecorder(state.events, LiveConfig(()), asyncio.Event(), lambda: datetime.now(UTC)), file
    )


@asynccontextmanager
async def consuming(settings: QueueSettings, sink: EventRecorder) -> AsyncGenerator[list[Any]]:
    """Consume inside the block and yield the log entries; on exit the consumer stops within its bounds."""
    stop = asyncio.Event()
    with capture_logs() as logged:
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            group.create_task(consume(settings, sink, stop, Random(1)))
            yield logged
            stop.set()


async def has(store: EventStore, count: int) -> bool:
    """Whether *count* different tags are recorded."""
    return len(set(await store.tags())) >= count


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until *condition* holds, for at most *seconds*."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def logged_as(logged: list[Any], event: str, count: int = 1) -> None:
    """Wait until *event* was logged *count* times."""

    async def is_logged() -> bool:
        return sum(entry["event"] == event for entry in logged) >= count

    await until(is_logged)
