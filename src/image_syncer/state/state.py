"""The open state of one process. `app` and `daemon` open it once and pass its parts on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from image_syncer.state.database import CALL_SECONDS, Database
from image_syncer.state.database_url import parse_database_url
from image_syncer.state.engines import make_engine
from image_syncer.state.event_log import CopyEnd, EventLog, settle_copies
from image_syncer.state.known_images import KnownImages
from image_syncer.state.migrate import prepare
from image_syncer.state.pending_copies import PendingCopies, settle_results
from image_syncer.state.runs import NewRun, RunEnd, RunHistory, add_results, begin_run, finish_run
from image_syncer.state.schedules import ScheduleBook
from image_syncer.sync.result import CopyResult


@dataclass(frozen=True, slots=True)
class EndedCopy:
    """A copy that is not retried; its source was read after *began_at*.

    *run* and *end* are a run of its own for a copy that an event requested, None for a copy that rules requested.
    """

    result: CopyResult
    began_at: datetime
    finished_at: datetime
    run: NewRun | None = None
    end: RunEnd | None = None


_REWRITE: Final = "UPDATE image_syncer_version SET version_num = version_num"


@dataclass(frozen=True, slots=True)
class State:
    """The parts of the state. Every call raises `StateUnavailable` if the database does not answer in time."""

    events: EventLog
    schedules: ScheduleBook
    runs: RunHistory
    open_copies: PendingCopies
    known_images: KnownImages
    database: Database

    async def end_copy(self, ended: EndedCopy) -> list[int]:
        """Record the end of a copy in one transaction: its own run, its events and the runs that wait for it.

        Return the runs of rules that it completes.
        """
        return await self.database.write(lambda connection: _end_copy(connection, ended))

    async def check_writable(self) -> None:
        """Return if the database stores what is written to it; a full disk still answers reads."""
        await self.database.write(lambda connection: connection.execute(text(_REWRITE)))

    async def ping(self) -> None:
        """Return if the database answers; `StateUnavailable` otherwise."""
        await self.database.read(lambda connection: connection.execute(text("SELECT 1")).scalar_one())


@asynccontextmanager
async def open_state(url: str, *, patience: float = CALL_SECONDS) -> AsyncGenerator[State]:
    """Yield the state at *url* after creating or migrating its schema.

    *url* is `sqlite:///PATH`, a path, or libpq's `postgresql://` URL. *patience* is the timeout of a call in seconds.
    `StateUnusable` for a damaged file, a database of another program or of a newer version; `StateUnavailable` for a
    server that does not answer.
    """
    location = parse_database_url(url)
    engine = await asyncio.to_thread(make_engine, location)  # It imports a driver.
    database = Database(engine, str(location), patience=patience)
    try:
        await asyncio.to_thread(prepare, engine, location)
        yield State(
            EventLog(database),
            ScheduleBook(database),
            RunHistory(database),
            PendingCopies(database),
            KnownImages(database),
            database,
        )
    finally:
        await database.close()


def _end_copy(connection: Connection, ended: EndedCopy) -> list[int]:
    result = ended.result
    if ended.run is not None:
        run = begin_run(connection, ended.run)
        add_results(connection, run, [result])
        finish_run(connection, run, ended.end or RunEnd(ended.finished_at))
    outcome, reason = result.outcome.value, result.reason
    settle_copies(connection, CopyEnd(result.source, result.target, ended.began_at, ended.finished_at, outcome, reason))
    return settle_results(connection, [result], began_at=ended.began_at, now=ended.finished_at)
