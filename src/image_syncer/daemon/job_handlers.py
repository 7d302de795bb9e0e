"""The handlers of jobs: make one copy, or plan a rule and request its copies. Both record results in the state."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from image_syncer.app import Syncer
from image_syncer.daemon.services import Services
from image_syncer.errors import CopyFailed, ImageSyncerError, NotFound, Postponed
from image_syncer.jobs import CopyJob, CopyRequest, Handlers, JobRetryPolicy, RuleJob
from image_syncer.oci import Reference
from image_syncer.state import EndedCopy, NewRun, RunEnd, RunPlan, Trigger
from image_syncer.structs import replace
from image_syncer.sync.plan import Action, Copy, Plan, PlannedCopy
from image_syncer.sync.result import (
    CopyResult,
    Outcome,
    RunResult,
    failed_result,
    rule_failure_result,
    skipped_result,
    undone_result,
)
from image_syncer.sync.rule import Rule, needs_listing
from image_syncer.sync.target_plans import plans_by_target
from image_syncer.telemetry import log_copy

_ANNOUNCED_WITHIN: Final = timedelta(days=1)
_BATCH: Final = 100
GONE: Final = "gone at the source, so nothing new is attached to it; the target keeps it"


class RuleUnknown(ImageSyncerError):
    """This process has no such rule (any more); another process of the fleet may have it."""

    retryable = True


class JobHandlers:
    """Handles jobs with *services*; *policy* is the worker's retry policy, which tells a last attempt."""

    def __init__(self, services: Services, policy: JobRetryPolicy) -> None:
        self._services = services
        self._state = services.state
        self._now = services.now
        self._policy = policy
        self._log: Any = structlog.get_logger()

    @property
    def handlers(self) -> Handlers:
        """The functions that the worker calls."""
        return Handlers(self.copy, self.rule)

    async def copy(self, job: CopyJob) -> None:
        """Make one copy. A failure is raised as it is: the queue decides about another attempt."""
        began = self._now()
        rule = self._services.config.find(job.rule)
        if rule is None and job.rule:
            made = self._refused(job, job.rule)
        else:
            async with self._services.syncers.current() as syncer:
                made = await self._unselected(syncer, job, rule) or await syncer.copy(
                    job.source,
                    [job.target],
                    platforms=job.platforms,
                    fence=job.lease,
                    rule=rule,
                    compare_referrers=job.referrers,
                    wanted_for=0.0 if job.referrers else job.age,
                )
        (result,) = made.results
        # A filter gives an image by digest another digest; events and runs know the copy by the requested names.
        ends = str(job.source), str(job.target)
        result = replace(result, rule=job.rule or result.rule, source=ends[0], target=ends[1], attempts=job.attempt)
        if job.referrers and _is_gone(result.failure):
            result = skipped_result(result.rule, *ends, GONE)
        failure = result.failure
        self._record_health(job.source, job.target, failure)
        log_copy(self._log, result)
        if failure is None or self._policy.is_last(failure, job.attempt, age=job.age):
            await self._record_copy(job, replace(made, results=(result,)), began)
        if failure is not None:
            raise failure

    async def _unselected(self, syncer: Syncer, job: CopyJob, rule: Rule | None) -> RunResult | None:
        """Return the skipped copy of an event whose image *rule* does not select now; None for a copy to make.

        The name of its tag fits the rule, but other tags and dates may decide too. A scheduled run decides for the
        images of its jobs.
        """
        if job.event is None or rule is None or not needs_listing(rule.selection):
            return None
        began, ends = self._now(), (str(job.source), str(job.target))
        try:
            explained = await syncer.planner().explain(rule, job.source, is_pushed=not job.referrers)
        except CopyFailed as failure:
            planned = PlannedCopy(Copy(rule.name, job.source, job.target, job.platforms), Action.FAIL)
            return RunResult(began, self._now(), (failed_result(planned, failure, attempt=job.attempt),))
        if explained.is_selected:
            return None
        return RunResult(began, self._now(), (skipped_result(rule.name, *ends, explained.reason),))

    def _refused(self, job: CopyJob, rule: str) -> RunResult:
        """Return the failure of a copy whose *rule* this process does not know: it may have a gate.

        Another process of a fleet may know it, so the queue tries again.
        """
        error = Postponed(
            f"there is no rule {rule!r} in this configuration",
            remedy="the rule was removed or renamed; its waiting copies end after their attempts",
        )
        planned = PlannedCopy(Copy(rule, job.source, job.target, job.platforms), Action.FAIL)
        failed = failed_result(planned, CopyFailed(error, side=None, step="copy"), attempt=job.attempt)
        now = self._now()
        return RunResult(now, now, (failed,))

    async def rule(self, job: RuleJob) -> None:
        """Plan one rule, record the results that need no copy, and request a job for each copy."""
        rule = self._services.config.find(job.rule)
        if rule is None:
            raise RuleUnknown(f"there is no rule {job.rule!r} in this configuration")
        began = self._now()
        await self._state.open_copies.end_lost_runs(rule.name, now=began)
        run = await self._state.runs.begin(NewRun(job.trigger, [rule.name], began))
        async with self._services.syncers.current() as syncer, plans_by_target(syncer.planner(), [rule]) as plans:
            split = await self._split(syncer, await plans.early(), job.attempt, began)
            await self._record_early(rule, run, split, plans.undecided, began)
            async for plan in plans.late():
                # Its copies are pending in the run already: what is up to date ends them, the others get their jobs.
                late = await self._split(syncer, plan, job.attempt, began)
                await self._request(late.copies)
        if split.unlisted is not None:
            raise split.unlisted

    async def _record_early(
        self, rule: Rule, run: int, split: "SplitPlan", undecided: Sequence[Copy], began: datetime
    ) -> None:
        """Record *split* in *run*, with *undecided* copies of slower registries as pending; request its copies."""
        unannounced = await self._unannounced(split.copies, since=began) if rule.triggers.events else None
        pending = [*split.copies, *undecided]
        found = RunPlan(split.done, pending, warnings=split.warnings, unannounced=unannounced)
        has_ended = await self._state.open_copies.record_plan(run, found, now=self._now())
        self._log.info(
            "run.planned",
            run=run,
            rule=rule.name,
            known=len(split.done),
            copies=len(pending),
            unannounced=unannounced,
        )
        await self._request(split.copies)
        if has_ended:
            await self._log_ended([run])

    async def _split(self, syncer: Syncer, plan: Plan, attempt: int, began: datetime) -> "SplitPlan":
        """Return *plan* as results and copies, and record the results; *began* is the start of its run."""
        due = await syncer.due_referrers(plan.copies)
        split = split_plan(plan, attempt=attempt, due=frozenset(planned.copy for planned in due))
        for planned in plan.copies:
            self._record_health(planned.copy.source, planned.copy.target, planned.failure)
        for result in split.done:
            self._services.metrics.copied(result)
            if result.outcome is Outcome.FAILED:
                log_copy(self._log, result)
        # An unchanged image also ends the copies of it that earlier runs still wait for.
        await self._settle(split.done, began)
        return split

    def _record_health(self, source: Reference, target: Reference, failure: CopyFailed | None) -> None:
        self._services.health.record(source.repository.registry, target.repository.registry, failure)

    async def _request(self, copies: Sequence[Copy]) -> None:
        """Request all *copies*. After a kill in between, the next attempt plans again and joins the waiting jobs."""
        for start in range(0, len(copies), _BATCH):
            await self._services.jobs.request_copies(
                CopyRequest(copy.source, copy.target, rule=copy.rule, platforms=copy.platforms)
                for copy in copies[start : start + _BATCH]
            )

    async def _record_copy(self, job: CopyJob, made: RunResult, began: datetime) -> None:
        (result,) = made.results
        self._services.metrics.copied(result)
        trigger = _own_trigger(job, result)
        run = None if trigger is None else NewRun(trigger, [result.rule], made.started_at)
        end = RunEnd(made.finished_at, warnings=made.warnings)
        await self._log_ended(await self._state.end_copy(EndedCopy(result, began, self._now(), run, end)))

    async def _settle(self, results: Sequence[CopyResult], began: datetime) -> None:
        await self._log_ended(await self._state.open_copies.settle(results, began_at=began, now=self._now()))

    async def _log_ended(self, runs: Sequence[int]) -> None:
        for number in runs:
            run = await self._state.runs.get(number)
            if run is not None:
                counts = {outcome.value: count for outcome, count in run.counts.items()}
                self._log.info("run.finished", run=run.id, rule=run.rules, **counts)

    async def _unannounced(self, copies: Sequence[Copy], *, since: datetime) -> int:
        """Return the number of images to copy that no event of the last day announced: their webhook is missing."""
        tags = named_tags(copies)
        if not tags:
            return 0
        return len(tags - await self._state.events.filter_announced(tags, since=since - _ANNOUNCED_WITHIN))


@dataclass(slots=True)
class SplitPlan:
    """A plan as results that need no copy, and copies.

    *unlisted* is the reason why a part of the rule could not be planned and may be later; None if all was planned.
    """

    done: list[CopyResult] = field(default_factory=list[CopyResult])
    copies: list[Copy] = field(default_factory=list[Copy])
    unlisted: CopyFailed | None = None
    warnings: Sequence[str] = ()


def split_plan(plan: Plan, *, attempt: int, due: Collection[Copy] = frozenset()) -> SplitPlan:
    """Split *plan*. A copy whose decision failed temporarily becomes a job, which decides again.

    So do the unchanged images in *due*: their jobs compare what is attached to them.
    """
    split = SplitPlan(warnings=plan.warnings)
    for planned in plan.copies:
        if planned.action is Action.COPY or planned.copy in due or _may_work_later(planned):
            split.copies.append(planned.copy)
        else:
            split.done.append(undone_result(planned, attempt))
    for failed in plan.failures:
        split.done.append(rule_failure_result(failed, attempt))
        if not failed.failure.is_permanent:
            split.unlisted = failed.failure
    return split


def named_tags(copies: Sequence[Copy]) -> set[tuple[str, str]]:
    """Return the (repository, tag) pairs that *copies* read; events announce tags, so copies by digest are left out."""
    return {(str(copy.source.repository), copy.source.tag) for copy in copies if copy.source.tag is not None}


def _own_trigger(job: CopyJob, result: CopyResult) -> Trigger | None:
    """Return the trigger of the run that *job* is by itself; None if it belongs to the run of a rule.

    A comparison of referrers that finds nothing is no run.
    """
    if job.event is not None:
        return Trigger.EVENT
    return Trigger.SCHEDULE if job.referrers and result.outcome is not Outcome.UNCHANGED else None


def _is_gone(failure: CopyFailed | None) -> bool:
    return failure is not None and failure.side == "source" and isinstance(failure.cause, NotFound)


def _may_work_later(planned: PlannedCopy) -> bool:
    return planned.failure is not None and not planned.failure.is_permanent
