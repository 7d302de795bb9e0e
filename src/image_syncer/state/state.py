"""The state of one process: opened once by the composition root, handed to whoever remembers something."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text

from image_syncer.state.copy_end import EndedCopy, end_copy
from image_syncer.state.database import CALL_SECONDS, Database
from image_syncer.state.database_url import parse_place
from image_syncer.state.engines import make_engine
from image_syncer.state.event_log import EventLog
from image_syncer.state.migrate import prepare
from image_syncer.state.pending_copies import PendingCopies
from image_syncer.state.runs import RunLog
from image_syncer.state.schedules import ScheduleBook


@dataclass(frozen=True, slots=True)
class State:
    """What we remember. Every call raises `StateUnavailable` where the database does not answer in time."""

    events: EventLog
    schedules: ScheduleBook
    runs: RunLog
    open_copies: PendingCopies
    database: Database

    async def end_copy(self, ended: EndedCopy) -> list[int]:
        """Write down in one transaction that a copy has ended; return the runs of rules that ended by it."""
        return await self.database.write(lambda connection: end_copy(connection, ended))

    async def ping(self) -> None:
        """Return if the database answers."""
        await self.database.read(lambda connection: connection.execute(text("SELECT 1")).scalar_one())


@asynccontextmanager
async def open_state(url: str, *, patience: float = CALL_SECONDS) -> AsyncGenerator[State]:
    """Yield the state at *url*, its schema made or migrated.

    *url* is `sqlite:///PATH`, a path, or libpq's `postgresql://` URL. *patience* is how many seconds a call may wait
    and work before it is `StateUnavailable`. `StateUnusable` for a file that is damaged, a database of another program
    or of a newer version; `StateUnavailable` for a server that does not answer.
    """
    place = parse_place(url)
    engine = await asyncio.to_thread(make_engine, place)  # It imports a driver.
    database = Database(engine, str(place), patience=patience)
    try:
        await asyncio.to_thread(prepare, engine, place)
        yield State(EventLog(database), ScheduleBook(database), RunLog(database), PendingCopies(database), database)
    finally:
        await database.close()
