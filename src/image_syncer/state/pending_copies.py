"""Copies that runs wait for. A run whose copies are spread over a fleet ends with the last of them.

    begin -> record_plan (known results, copies to make) -> one job per copy -> settle, by the process that made it

A copy is identified by source and target alone, since one job may make it for several runs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, or_, select, tuple_, update

from image_syncer.errors import Side
from image_syncer.state.database import Database, page_size
from image_syncer.state.event_log import CLOCK_SKEW
from image_syncer.state.runs import add_results, one_line_each
from image_syncer.state.sql_session import chunks
from image_syncer.state.tables import open_copies, runs
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult

LOST_RUN: Final = "its process ended while planning"

Pair = tuple[str, str]
"""Source and target of a copy."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run: results that are known already (*done*), and *copies* to make.

    *requests* counts the planning requests; *unannounced* counts the images without a webhook event; None if
    events do not trigger the rule.
    """

    done: Sequence[CopyResult]
    copies: Sequence[Copy]
    requests: Mapping[Side, int] = field(default_factory=dict[Side, int])
    warnings: Sequence[str] = ()
    unannounced: int | None = None


class PendingCopies:
    """The pending copies of runs in the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_plan(self, run: int, plan: RunPlan, *, now: datetime) -> bool:
        """Record the plan of *run*, its copies in one transaction; return whether it has none and has ended."""
        for some in chunks(plan.done):  # In slices, so that recording an event waits for one of them at most.
            await self._database.write(lambda connection, some=some: add_results(connection, run, some))
        return await self._database.write(lambda connection: _plan(connection, run, plan, now))

    async def settle(self, results: Sequence[CopyResult], *, began_at: datetime, now: datetime) -> list[int]:
        """Add *results* to the runs that wait for them, and return the runs that these complete.

        The source was read after *began_at*, so the results count for runs that began before.
        """
        ended: list[int] = []
        for some in chunks(results):
            ended += await self._database.write(
                lambda connection, some=some: settle_results(connection, some, began_at=began_at, now=now)
            )
        return ended

    async def list_of_run(self, run: int, *, limit: int = 1000) -> list[Pair]:
        """Return up to *limit* pending copies of *run*."""
        wanted = select(open_copies.c.source, open_copies.c.target).where(open_copies.c.run_id == run)
        return [_pair(row) for row in await self._rows(wanted.limit(page_size(limit)))]

    async def list_older_than(self, until: datetime, *, now: datetime, limit: int = 500) -> list[tuple[Pair, str]]:
        """Return up to *limit* pending copies of runs from before *until*, each with its rule, oldest first.

        Runs that start later than *now* are included: a wrong clock recorded them.
        """
        columns = select(open_copies.c.source, open_copies.c.target, open_copies.c.rule)
        waiting = columns.join(runs, runs.c.id == open_copies.c.run_id).where(
            or_(runs.c.started_at < until, runs.c.started_at > now + CLOCK_SKEW)
        )
        rows = await self._rows(waiting.order_by(runs.c.id).limit(page_size(limit)))
        return list(dict.fromkeys((_pair(row), row.rule) for row in rows))

    async def end_lost_runs(self, rule: str, *, now: datetime) -> int:
        """End the unfinished runs of *rule* without pending copies, whose process was killed; return their number."""
        lost = (
            update(runs)
            .where(runs.c.rules == rule, runs.c.finished_at.is_(None), ~_waiting().exists())
            .values(finished_at=now, warnings=LOST_RUN)
        )
        return await self._database.write(lambda connection: connection.execute(lost).rowcount)

    async def _rows(self, wanted: Any) -> Sequence[Row[Any]]:
        return await self._database.read(lambda connection: connection.execute(wanted).all())


def _plan(connection: Connection, run: int, plan: RunPlan, now: datetime) -> bool:
    rows = [
        {"run_id": run, "rule": copy.rule, "source": str(copy.source), "target": str(copy.target)}
        for copy in plan.copies
    ]
    for some in chunks(rows):
        connection.execute(insert(open_copies), some)
    connection.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(
            finished_at=None if rows else now,
            source_requests=plan.requests.get("source", 0),
            target_requests=plan.requests.get("target", 0),
            warnings=one_line_each(plan.warnings),
            unannounced=plan.unannounced,
        )
    )
    return not rows


def settle_results(
    connection: Connection, results: Sequence[CopyResult], *, began_at: datetime, now: datetime
) -> list[int]:
    """Add *results* to the runs that wait for them, and return the runs that these complete."""
    by_pair: dict[Pair, CopyResult] = {(result.source, result.target): result for result in results}
    touched: dict[int, list[CopyResult]] = {}
    for run, pair in _taken(connection, sorted(by_pair), began_at, now):
        touched.setdefault(run, []).append(by_pair[pair])
    for run, done in sorted(touched.items()):
        add_results(connection, run, done)
    return _end(connection, touched, now)


def _taken(connection: Connection, pairs: Sequence[Pair], began_at: datetime, now: datetime) -> list[tuple[int, Pair]]:
    """Remove *pairs* from the pending copies and return them by run; of two processes with the same pair, one gets it.

    Adding a result locks the row of its run. So of two processes that settle the last two copies of a run, the second
    waits for the first, sees its result, and ends the run.
    """
    these = tuple_(open_copies.c.source, open_copies.c.target).in_(pairs)
    waiting = select(open_copies.c.run_id).where(these)
    # A run that starts after the end of the copy was recorded while a clock was wrong.
    before = or_(runs.c.started_at <= began_at, runs.c.started_at > now + CLOCK_SKEW)
    began = select(runs.c.id).where(runs.c.id.in_(waiting), before).order_by(runs.c.id)
    ids = list(connection.execute(began).scalars())
    if not ids:
        return []
    removed = (
        delete(open_copies)
        .where(these, open_copies.c.run_id.in_(ids))
        .returning(open_copies.c.run_id, open_copies.c.source, open_copies.c.target)
    )
    return [(row.run_id, _pair(row)) for row in connection.execute(removed)]


def _end(connection: Connection, touched: Collection[int], now: datetime) -> list[int]:
    """End the *touched* runs without pending copies, and return them."""
    ended: list[int] = []
    for some in chunks(sorted(touched)):
        of_these = update(runs).where(runs.c.id.in_(some), runs.c.finished_at.is_(None), ~_waiting().exists())
        ended += connection.execute(of_these.values(finished_at=now).returning(runs.c.id)).scalars()
    return ended


def _waiting() -> Any:
    return select(open_copies.c.run_id).where(open_copies.c.run_id == runs.c.id)


def _pair(row: Any) -> Pair:
    return row.source, row.target
