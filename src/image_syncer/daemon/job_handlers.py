"""What jobs do: make one copy, or plan a rule and ask for its copies. Their ends are written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import LiveConfig, Now
from image_syncer.daemon.spread import divide, named_tags
from image_syncer.daemon.syncer_handle import SyncerHandle
from image_syncer.errors import ImageSyncerError
from image_syncer.jobs import CopyJob, CopyRequest, JobQueue, JobRetryPolicy, RuleJob
from image_syncer.server.metrics import Metrics
from image_syncer.state import EndedCopy, NewRun, RunEnd, RunPlan, State, Trigger
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult, RunResult

_ANNOUNCED_WITHIN: Final = timedelta(days=1)
_BATCH: Final = 100


class RuleUnknown(ImageSyncerError):
    """The configuration of this process has no such rule (any more); another process of the fleet may have it."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Desk:
    """What work needs: where its results go, who carries out what it asks for, and the rules."""

    connections: SyncerHandle
    state: State
    jobs: JobQueue
    book: LiveConfig
    now: Now
    metrics: Metrics
    policy: JobRetryPolicy


class JobHandlers:
    """The handlers of jobs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._state = desk.state
        self._now = desk.now
        self._log: Any = structlog.get_logger()

    async def copy(self, job: CopyJob) -> None:
        """Make one copy. A failure comes out as it is: the queue decides whether it is tried again."""
        began = self._now()
        async with self._desk.connections.current() as syncer:
            made = await syncer.copy(job.source, [job.target], platforms=job.platforms)
        (result,) = made.results
        # A filter gives an image by digest another digest, yet who asked knows the copy by the names in the request.
        names = str(job.source), str(job.target)
        result = replace(result, rule=job.rule or result.rule, source=names[0], target=names[1], attempts=job.attempt)
        failure = result.failure
        if failure is None or self._desk.policy.is_last(failure, job.attempt, age=job.age):
            await self._copy_ended(job, replace(made, results=(result,)), began)
        if failure is not None:
            raise failure

    async def rule(self, job: RuleJob) -> None:
        """Plan one rule, write down what is known by that, and ask for a job for each copy that is to be made."""
        rule = self._desk.book.find(job.rule)
        if rule is None:
            raise RuleUnknown(f"there is no rule {job.rule!r} in this configuration")
        began = self._now()
        await self._state.open_copies.end_lost_runs(rule.name, now=began)
        run = await self._state.runs.begin(NewRun(job.trigger, [rule.name], began))
        async with self._desk.connections.current() as syncer:
            plan = await syncer.plan([rule])
        spread = divide(plan, attempt=job.attempt)
        for result in spread.done:
            self._desk.metrics.copied(result)
        unannounced = await self._unannounced(spread.copies, since=began)
        # What was found unchanged is also the end of copies that earlier runs still wait for.
        await self._settle(spread.done, began)
        found = RunPlan(spread.done, spread.copies, warnings=plan.warnings, unannounced=unannounced)
        ended = await self._state.open_copies.record_plan(run, found, now=self._now())
        self._log.info(
            "run.planned",
            run=run,
            rule=rule.name,
            known=len(spread.done),
            copies=len(spread.copies),
            unannounced=unannounced,
        )
        await self._ask_for(spread.copies)
        if ended:
            await self._tell_ended([run])
        if spread.unlisted is not None:
            raise spread.unlisted

    async def _ask_for(self, copies: Sequence[Copy]) -> None:
        """Ask for all *copies*. A process that is killed in between plans again, and joins the jobs that wait."""
        for start in range(0, len(copies), _BATCH):
            await self._desk.jobs.request_copies(
                CopyRequest(copy.source, copy.target, rule=copy.rule, platforms=copy.platforms)
                for copy in copies[start : start + _BATCH]
            )

    async def _copy_ended(self, job: CopyJob, made: RunResult, began: datetime) -> None:
        (result,) = made.results
        self._desk.metrics.copied(result)
        run = None if job.event is None else NewRun(Trigger.EVENT, [result.rule], made.started_at)
        end = RunEnd(made.finished_at, warnings=made.warnings)
        await self._tell_ended(await self._state.end_copy(EndedCopy(result, began, self._now(), run, end)))

    async def _settle(self, results: Sequence[CopyResult], began: datetime) -> None:
        await self._tell_ended(await self._state.open_copies.settle(results, began_at=began, now=self._now()))

    async def _tell_ended(self, runs: Sequence[int]) -> None:
        for number in runs:
            run = await self._state.runs.get(number)
            if run is not None:
                counts = {outcome.value: count for outcome, count in run.counts.items()}
                self._log.info("run.finished", run=run.id, rule=run.rules, **counts)

    async def _unannounced(self, copies: Sequence[Copy], *, since: datetime) -> int:
        """Return how many images are to be copied that no event of the last day announced: hooks that are missing."""
        tags = named_tags(copies)
        if not tags:
            return 0
        return len(tags - await self._state.events.filter_announced(tags, since=since - _ANNOUNCED_WITHIN))
