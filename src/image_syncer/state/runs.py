"""Runs and their result for each image, for the dashboard and the API.

Results are written during a run, so those of a killed run are there; such a run has no end time.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, func, insert, or_, select, update

from image_syncer.errors import Side
from image_syncer.oci import Digest
from image_syncer.state.database import Database, page_size
from image_syncer.state.sql_session import chunks
from image_syncer.state.tables import results, runs
from image_syncer.sync.referrer_report import report_of_text, report_text
from image_syncer.sync.result import CopyResult, Outcome, Transferred

_PRUNE_RUNS: Final = 500
_PRUNE_RESULTS: Final = 2000  # A run may have 100 000, and recording an event waits for each step.
_WARNINGS_KEPT: Final = 20
_SIZES_READ: Final = 20
_BETWEEN: Final = ", "  # separates the names in the column `rules`


class Trigger(StrEnum):
    """Why a run started."""

    REQUEST = "request"
    SCHEDULE = "schedule"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that starts; *rules* are the names of its rules."""

    trigger: Trigger
    rules: Sequence[str]
    started_at: datetime
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run so far; *finished_at* is None while it runs, or if its process was killed.

    *unannounced* counts the copied images without a webhook event; None if that was not checked.
    """

    id: int
    trigger: Trigger
    rules: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None
    counts: Mapping[Outcome, int]
    transferred: Transferred
    requests: Mapping[Side, int]
    warnings: tuple[str, ...]
    unannounced: int | None = None

    @property
    def rule_names(self) -> list[str]:
        """The names of the rules that the run executes."""
        return self.rules.split(_BETWEEN)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run: HTTP requests per side, and warnings (the first 20 are kept)."""

    finished_at: datetime
    requests: Mapping[Side, int] = field(default_factory=dict[Side, int])
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images to list; None means any. *repository* (`host/path`) matches source or target."""

    rule: str | None = None
    outcome: Outcome | None = None
    repository: str | None = None


class RunHistory:
    """The runs in the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, run: NewRun) -> int:
        """Record the start of a run and return its identifier."""
        return await self._database.write(lambda connection: begin_run(connection, run))

    async def add(self, run: int, done: Sequence[CopyResult]) -> None:
        """Add results to a run and its counts in one transaction; does nothing if the run was removed."""
        if done:
            await self._database.write(lambda connection: add_results(connection, run, done))

    async def finish(self, run: int, end: RunEnd) -> None:
        """Record the end of a run."""
        await self._database.write(lambda connection: finish_run(connection, run, end))

    async def get(self, run: int) -> RunRecord | None:
        """Return a run; None if it does not exist or was pruned."""
        wanted = select(runs).where(runs.c.id == run)
        row = await self._database.read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else _run(row)

    async def page(
        self,
        *,
        trigger: Trigger | None = None,
        rule: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RunRecord]:
        """Return up to *limit* runs, newest first, filtered by *trigger* and *rule* unless None.

        *before* is the last identifier of the last page.
        """
        wanted = select(runs).order_by(runs.c.id.desc()).limit(page_size(limit))
        if trigger is not None:
            wanted = wanted.where(runs.c.trigger == trigger)
        if rule is not None:
            named = _BETWEEN + runs.c.rules + _BETWEEN
            wanted = wanted.where(named.contains(f"{_BETWEEN}{rule}{_BETWEEN}", autoescape=True))
        if before is not None:
            wanted = wanted.where(runs.c.id < before)
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return [_run(row) for row in rows]

    async def results(
        self, run: int, *, outcome: Outcome | None = None, after: int = 0, limit: int = 100
    ) -> tuple[list[CopyResult], int]:
        """Return up to *limit* results of a run in their order, and *after* for the next page."""
        wanted = select(results).where(results.c.run_id == run, results.c.id > after)
        if outcome is not None:
            wanted = wanted.where(results.c.outcome == outcome)
        wanted = wanted.order_by(results.c.id).limit(page_size(limit))
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return [_result(row) for row in rows], rows[-1].id if rows else after

    async def latest_results(self, target: str, *, limit: int = 10) -> list[CopyResult]:
        """Return the last results for a target reference, newest first."""
        wanted = select(results).where(results.c.target == target).order_by(results.c.id.desc()).limit(page_size(limit))
        rows = await self._database.read(lambda connection: connection.execute(wanted).all())
        return [_result(row) for row in rows]

    async def estimated_sizes(self, repositories: Collection[str]) -> dict[str, int]:
        """Return the bytes of the largest of some recent images in each target repository (`host/path`)."""
        return await self._database.read(lambda connection: _estimated_sizes(connection, repositories))

    async def images(
        self, wanted: ImageFilter | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, CopyResult]]:
        """Return the latest result of up to *limit* images with its identifier, newest first.

        An image is a source and a target of a rule. *before* is the last identifier of the last page.
        """
        statement = _images(wanted or ImageFilter()).order_by(results.c.id.desc()).limit(page_size(limit))
        if before is not None:
            statement = statement.where(results.c.id < before)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [(row.id, _result(row)) for row in rows]

    async def prune(self, *, keep: int, older_than: datetime, of_each: int = 0) -> int:
        """Remove runs from before *older_than*, and finished runs beyond the newest *keep*; return their number.

        The newest *of_each* runs of the same rules stay at any age. It works in short transactions, so that another
        writer waits for one of them at most.
        """
        removed = 0
        while old := await self._database.read(lambda connection: _surplus(connection, keep, older_than, of_each)):
            while await self._database.write(lambda connection, old=old: _prune_results(connection, old)):
                pass
            statement = delete(runs).where(runs.c.id.in_(old))
            removed += await self._database.write(
                lambda connection, statement=statement: connection.execute(statement).rowcount
            )
        return removed


def begin_run(connection: Connection, run: NewRun) -> int:
    """Record the start of a run and return its identifier."""
    statement = insert(runs).values(
        trigger=run.trigger,
        rules=_BETWEEN.join(run.rules),
        dry_run=run.dry_run,
        started_at=run.started_at,
        warnings="",
        **dict.fromkeys(
            ("copied", "unchanged", "skipped", "failed", "bytes_copied", "bytes_mounted", "bytes_existing"), 0
        ),
        source_requests=0,
        target_requests=0,
    )
    return connection.execute(statement.returning(runs.c.id)).scalar_one()


def finish_run(connection: Connection, run: int, end: RunEnd) -> None:
    """Record the end of a run."""
    connection.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(
            finished_at=end.finished_at,
            source_requests=end.requests.get("source", 0),
            target_requests=end.requests.get("target", 0),
            warnings=one_line_each(end.warnings),
        )
    )


def one_line_each(warnings: Sequence[str]) -> str:
    """Return the first 20 *warnings*, one per line."""
    return "\n".join(warning.replace("\n", " ") for warning in warnings[:_WARNINGS_KEPT])


def add_results(connection: Connection, run: int, done: Sequence[CopyResult]) -> None:
    """Add results to a run and its counts; does nothing if the run was removed."""
    if not done:
        return
    counted = Counter(result.outcome for result in done)
    moved = sum((result.transferred for result in done), Transferred())
    present = connection.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(
            **{outcome.value: runs.c[outcome.value] + counted[outcome] for outcome in Outcome},
            bytes_copied=runs.c.bytes_copied + moved.copied,
            bytes_mounted=runs.c.bytes_mounted + moved.mounted,
            bytes_existing=runs.c.bytes_existing + moved.existing,
        )
    ).rowcount
    last = {_image(result): number for number, result in enumerate(done)}
    for some in chunks(list(enumerate(done))) if present else ():
        connection.execute(
            _NO_LONGER_LATEST,
            [{"of_rule": result.rule, "of_source": result.source, "of_target": result.target} for _, result in some],
        )
        connection.execute(
            insert(results),
            [_values(run, result) | {"latest": last[_image(result)] == number} for number, result in some],
        )


def _image(result: CopyResult) -> tuple[str, str, str]:
    return result.rule, result.source, result.target


# "is not false" instead of "is true": otherwise SQLite may use the index of latest results and scan all of them.
_NO_LONGER_LATEST: Final = (
    update(results)
    .where(
        results.c.target == bindparam("of_target"),
        results.c.source == bindparam("of_source"),
        results.c.rule == bindparam("of_rule"),
        results.c.latest.is_not(False),
    )
    .values(latest=False)
)


def _images(wanted: ImageFilter) -> Select[Any]:
    statement = select(results).where(results.c.latest)
    if wanted.rule is not None:
        statement = statement.where(results.c.rule == wanted.rule)
    if wanted.outcome is not None:
        statement = statement.where(results.c.outcome == wanted.outcome)
    if wanted.repository is not None:
        named = (
            column.startswith(f"{wanted.repository}{end}", autoescape=True)
            for column in (results.c.source, results.c.target)
            for end in ":@"
        )
        statement = statement.where(or_(*named))
    return statement


def _estimated_sizes(connection: Connection, repositories: Collection[str]) -> dict[str, int]:
    size = results.c.bytes_copied + results.c.bytes_mounted + results.c.bytes_existing
    sizes: dict[str, int] = {}
    for repository in repositories:
        # The tags of a repository are neighbours in the index of targets: ";" follows ":". The last ones are often new.
        of_repository = results.c.target.between(f"{repository}:", f"{repository};")
        some = select(size.label("size")).where(of_repository).order_by(results.c.target.desc()).limit(_SIZES_READ)
        sizes[repository] = connection.execute(select(func.max(some.subquery().c.size))).scalar_one() or 0
    return sizes


def _surplus(connection: Connection, keep: int, older_than: datetime, of_each: int) -> Sequence[int]:
    rank = func.row_number().over(partition_by=runs.c.rules, order_by=runs.c.id.desc()).label("rank")
    ranked = select(runs.c.id, runs.c.started_at, runs.c.finished_at, rank).subquery()
    beyond = select(runs.c.id).order_by(runs.c.id.desc()).offset(keep).limit(1).scalar_subquery()
    old = and_(ranked.c.started_at < older_than, ranked.c.rank > of_each)
    many = and_(ranked.c.id <= beyond, ranked.c.finished_at.is_not(None))
    wanted = select(ranked.c.id).where(or_(old, many)).order_by(ranked.c.id).limit(_PRUNE_RUNS)
    return connection.execute(wanted).scalars().all()


def _prune_results(connection: Connection, of_runs: Sequence[int]) -> int:
    some = select(results.c.id).where(results.c.run_id.in_(of_runs)).limit(_PRUNE_RESULTS)
    return connection.execute(delete(results).where(results.c.id.in_(some))).rowcount


def _values(run: int, result: CopyResult) -> dict[str, object]:
    return {
        "run_id": run,
        "rule": result.rule,
        "source": result.source,
        "target": result.target,
        "source_digest": _text(result.source_digest),
        "target_digest": _text(result.target_digest),
        "outcome": result.outcome,
        "reason": result.reason,
        "side": result.side,
        "step": result.step,
        "remedy": result.remedy,
        "bytes_copied": result.transferred.copied,
        "bytes_mounted": result.transferred.mounted,
        "bytes_existing": result.transferred.existing,
        "seconds": result.seconds,
        "attempts": result.attempts,
        "referrers": None if result.referrers is None else report_text(result.referrers),
    }


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _digest(text: str | None) -> Digest | None:
    return None if text is None else Digest.parse(text)


def _transferred(row: Row[Any]) -> Transferred:
    return Transferred(row.bytes_copied, row.bytes_mounted, row.bytes_existing)


def _run(row: Row[Any]) -> RunRecord:
    return RunRecord(
        id=row.id,
        trigger=Trigger(row.trigger),
        rules=row.rules,
        dry_run=row.dry_run,
        started_at=row.started_at,
        finished_at=row.finished_at,
        counts={outcome: getattr(row, outcome.value) for outcome in Outcome},
        transferred=_transferred(row),
        requests={"source": row.source_requests, "target": row.target_requests},
        warnings=tuple(row.warnings.splitlines()),
        unannounced=row.unannounced,
    )


def _result(row: Row[Any]) -> CopyResult:
    return CopyResult(
        rule=row.rule,
        source=row.source,
        target=row.target,
        outcome=Outcome(row.outcome),
        source_digest=_digest(row.source_digest),
        target_digest=_digest(row.target_digest),
        reason=row.reason,
        side=row.side,
        step=row.step,
        remedy=row.remedy,
        transferred=_transferred(row),
        seconds=row.seconds,
        attempts=row.attempts,
        referrers=None if row.referrers is None else report_of_text(row.referrers),
    )
