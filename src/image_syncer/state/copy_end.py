"""The end of a copy in one transaction: its own run, the events that it covers, and the runs that wait for it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from image_syncer.state.event_log import CopyEnd, settle_copies
from image_syncer.state.pending_copies import settle_results
from image_syncer.state.runs import NewRun, RunEnd, add_results, begin_run, finish_run
from image_syncer.sync.result import CopyResult


@dataclass(frozen=True, slots=True)
class EndedCopy:
    """A copy that will not be tried again; its source was read after *began_at*.

    *run* is a run of its own, which it is where an event asked for it, with its *end*; None where rules did.
    """

    result: CopyResult
    began_at: datetime
    finished_at: datetime
    run: NewRun | None = None
    end: RunEnd | None = None


def end_copy(connection: Connection, ended: EndedCopy) -> list[int]:
    """Write it down and return the runs that ended by it, its own not counted."""
    result = ended.result
    if ended.run is not None:
        run = begin_run(connection, ended.run)
        add_results(connection, run, [result])
        finish_run(connection, run, ended.end or RunEnd(ended.finished_at))
    outcome, reason = result.outcome.value, result.reason
    settle_copies(connection, CopyEnd(result.source, result.target, ended.began_at, ended.finished_at, outcome, reason))
    return settle_results(connection, [result], began_at=ended.began_at, now=ended.finished_at)
