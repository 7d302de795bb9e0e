"""One execution of rules: select tags, decide what to copy, copy it, retry failures, one result per selected image."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from image_syncer.concurrency.backoff import exponential_wait
from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed, QuotaUsedUp, Unexpected
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import Fence
from image_syncer.sync.copier import Copier
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import (
    CopyResult,
    RunObserver,
    Transferred,
    copied_result,
    failed_result,
    rule_failure_result,
    skipped_result,
    undone_result,
)
from image_syncer.sync.rule import Rule

INTERRUPTED = "interrupted"
Item = TypeVar("Item")
_LONGEST_RETRY_WAIT_SECONDS = 30.0
_DECISION_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run executes rules: *width* images at once, and up to *retries* retries of failed ones at the end.

    An image that takes longer than *image_seconds* fails; None: no limit.
    *fence* is checked right before each write of a tag; None: the run needs no lease.
    """

    width: int = 20
    retries: int = 2
    force: bool = False
    dry_run: bool = False
    image_seconds: float | None = None
    fence: Fence | None = None


@dataclass(slots=True)
class _Pending:
    """The input of one round: rules to select from, and copies that are selected already."""

    rules: list[Rule] = field(default_factory=list[Rule])
    copies: list[Copy] = field(default_factory=list[Copy])

    def __bool__(self) -> bool:
        return bool(self.rules or self.copies)


class Run:
    """Executes rules once and keeps the results. *clock* returns monotonic seconds; *rng* spreads retries."""

    def __init__(
        self,
        planner: Planner,
        copier: Copier,
        observer: RunObserver,
        *,
        options: RunOptions,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._planner = planner
        self._copier = copier
        self._observer = observer
        self._options = options
        self._clock = clock
        self._rng = rng
        self._results: dict[str, CopyResult] = {}  # By target: each target has one source.
        self._rule_results: dict[tuple[str, str], CopyResult] = {}
        self._retry = _Pending()
        self.warnings: list[str] = []

    @property
    def results(self) -> tuple[CopyResult, ...]:
        """The results so far: one for each source and target."""
        return (*self._results.values(), *self._rule_results.values())

    async def execute(self, rules: Sequence[Rule] = (), copies: Sequence[Copy] = (), *, stop: Shutdown) -> None:
        """Execute *rules* and *copies*, then retry failures that may succeed later. Returns early after a stop."""
        self._observer.selected(len(copies))
        pending = _Pending(list(rules), list(copies))
        for attempt in range(1, self._options.retries + 2):
            self._retry = _Pending()
            await self._copy_all(await self._decide_all(pending, attempt, stop), attempt, stop)
            pending = self._retry
            if not pending or self._options.dry_run or attempt > self._options.retries:
                return
            await _wait(self._rng.uniform(0.5, exponential_wait(2.0, _LONGEST_RETRY_WAIT_SECONDS, attempt)), stop)
            if stop.requested.is_set():
                return

    async def _decide_all(self, pending: _Pending, attempt: int, stop: Shutdown) -> list[PlannedCopy]:
        """Return the copies to make; all others get their results here."""
        selected = deque([*pending.copies, *await self._select(pending.rules, attempt, stop)])
        pending.copies.clear()
        to_copy: list[PlannedCopy] = []
        while selected:
            # In batches: for 100 000 images, only one batch is in memory with all its details.
            batch = [selected.popleft() for _ in range(min(_DECISION_BATCH, len(selected)))]
            to_copy += await self._decide(batch, attempt, stop)
        return to_copy

    async def _decide(self, copies: Sequence[Copy], attempt: int, stop: Shutdown) -> list[PlannedCopy]:
        """Return those of *copies* that must be made, and record the results of the others."""
        decided = await self._planner.decide(copies, force=self._options.force, stop=stop)
        to_copy: list[PlannedCopy] = []
        interrupted: list[Copy] = []
        for copy, planned in decided.items():
            if planned.action is Action.COPY and not self._options.dry_run:
                to_copy.append(planned)
            elif planned.failure is not None and planned.failure.is_interrupted:
                interrupted.append(copy)
            else:
                self._finish_without_copying(planned, attempt)
        self._interrupt([*interrupted, *(copy for copy in copies if copy not in decided)])
        return to_copy

    async def _select(self, rules: Sequence[Rule], attempt: int, stop: Shutdown) -> list[Copy]:
        """Return the copies that *rules* select, and record the rules that could not be expanded."""
        # A rule that is selected again replaces its results; the results of other rules stay.
        keys = [(rule.name, str(target)) for rule in rules for target in rule.targets]
        replaced = len([key for key in keys if self._rule_results.pop(key, None)])
        selected = await self._planner.select(rules, stop=stop)
        self._observer.selected(len(selected.copies) + len(selected.failures) - replaced)
        self.warnings += selected.warnings
        for failure in selected.failures:
            if failure.failure.is_interrupted:
                self._record_rule(skipped_result(failure.rule, failure.source, failure.target, INTERRUPTED))
            else:
                self._record_rule(rule_failure_result(failure, attempt))
        for rule in selected.unlisted:
            for target in rule.targets:
                self._record_rule(skipped_result(rule.name, rule.name, str(target), INTERRUPTED))
        self._retry.rules += selected.repeatable
        return selected.copies

    async def _copy_all(self, planned_copies: Sequence[PlannedCopy], attempt: int, stop: Shutdown) -> None:
        done: set[Copy] = set()

        async def copy_image(copies: Sequence[PlannedCopy]) -> None:
            started = self._clock()
            for planned in copies:
                self._observer.started(planned.copy)

            def finished(planned: PlannedCopy, end: Transferred | CopyFailed) -> None:
                if isinstance(end, CopyFailed) and end.is_interrupted:
                    return
                self._finish(planned, end, attempt, self._clock() - started)
                done.add(planned.copy)

            options = self._options
            try:
                await self._copier.copy(
                    copies, finished, force=options.force, seconds=options.image_seconds, fence=options.fence
                )
            except Exception as error:  # noqa: BLE001 - a bug that one image triggers must not end the others
                failure = CopyFailed(Unexpected(error), side=None, step="copy")
                for planned in copies:
                    if planned.copy not in done:
                        finished(planned, failure)

        images = group_by_image(planned_copies)
        ordered = round_robin(images, lambda copies: copies[0].copy.rule)
        await for_each(ordered, copy_image, width=self._options.width, stop=stop)
        self._interrupt(planned.copy for planned in planned_copies if planned.copy not in done)

    def _finish(self, planned: PlannedCopy, end: Transferred | CopyFailed, attempt: int, seconds: float) -> None:
        if isinstance(end, CopyFailed):
            if _can_retry(end):
                self._retry.copies.append(planned.copy)
            result = failed_result(planned, end, attempt=attempt, seconds=seconds)
        else:
            self._planner.confirm([planned], written=True)
            result = copied_result(planned, end, seconds=seconds, attempt=attempt)
        self._record(result)

    def _finish_without_copying(self, planned: PlannedCopy, attempt: int) -> None:
        """Record the result of *planned*, which is up to date, skipped or failed, or belongs to a dry run."""
        if planned.failure is not None and _can_retry(planned.failure):
            self._retry.copies.append(planned.copy)
        attempted = planned.failure is not None or not self._options.dry_run
        self._record(undone_result(planned, attempt if attempted else 0))

    def _interrupt(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            if str(copy.target) in self._results:
                continue  # The copy failed in an earlier round: that result says more than an interrupted retry.
            self._record(skipped_result(copy.rule, str(copy.source), str(copy.target), INTERRUPTED))

    def _record(self, result: CopyResult) -> None:
        self._results[result.target] = result
        self._observer.finished(result)

    def _record_rule(self, result: CopyResult) -> None:
        self._rule_results[result.source, result.target] = result
        self._observer.finished(result)


def _can_retry(failure: CopyFailed) -> bool:
    """Whether a retry within this run can succeed: not for a used-up quota, which the run has waited for already."""
    return not failure.is_permanent and not isinstance(failure.cause, QuotaUsedUp)


async def _wait(seconds: float, stop: Shutdown) -> None:
    """Wait *seconds*, or until *stop* is requested."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.requested.wait()


def group_by_image(copies: Iterable[PlannedCopy]) -> list[Sequence[PlannedCopy]]:
    """Group *copies* that have the same source image and platform filter, in their order."""
    groups: dict[tuple[Repository, Digest | None, PlatformFilter], list[PlannedCopy]] = {}
    for planned in copies:
        key = planned.copy.source.repository, planned.source_digest, planned.copy.platforms
        groups.setdefault(key, []).append(planned)
    return list(groups.values())


def round_robin(items: Iterable[Item], owner: Callable[[Item], Hashable]) -> Iterator[Item]:
    """Yield *items* round robin by owner, so that an owner with many items does not delay the others."""
    queues: dict[Hashable, deque[Item]] = {}
    for item in items:
        queues.setdefault(owner(item), deque()).append(item)
    waiting = deque(queues.values())
    while waiting:
        queue = waiting.popleft()
        yield queue.popleft()
        if queue:
            waiting.append(queue)
