"""One execution of rules: select tags, decide what to copy, copy it, retry failures, one result per selected image."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import TypeVar, cast

from image_syncer.concurrency.taskpool import Shutdown, background, first_of, for_each
from image_syncer.errors import CopyFailed, NotFound, NotTrusted, QuotaUsedUp, Unexpected
from image_syncer.oci import PlatformFilter, Reference
from image_syncer.roles import Fence
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.copier import Copier
from image_syncer.sync.copy_state import CopyOptions
from image_syncer.sync.fan_out import FanOut
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.referrer_rechecks import NEVER_LISTED, ReferrerRechecks
from image_syncer.sync.result import (
    INTERRUPTED,
    CopyResult,
    Ended,
    RunObserver,
    copied_result,
    failed_result,
    rule_failure_result,
    skipped_result,
    undone_result,
)
from image_syncer.sync.rule import Rule

Item = TypeVar("Item")
_LONGEST_RETRY_WAIT_SECONDS = 30.0
_DECISION_BATCH = 5_000


class RunOptions(Struct):
    """How a run executes rules: *width* images at once, and up to *retries* retries of failed ones at the end.

    If a registry is far, it is *far_width* images at once; None: *width*.

    An image that takes longer than *image_seconds* fails; None: no limit.
    *fence* is checked right before each write of a tag; None: the run needs no lease.
    *same_as* maps further host names of a registry to its main name. *referrers*: compare the referrers of unchanged
    images too, whenever that was done last.
    """

    width: int = 20
    far_width: int | None = None
    retries: int = 2
    force: bool = False
    dry_run: bool = False
    image_seconds: float | None = None
    fence: Fence | None = None
    same_as: Mapping[str, str] = field(default_factory=dict[str, str])
    referrers: bool = False


class _Round(Struct, frozen=False):
    """One round of copies to one target registry: *done* have a result, *retry* may succeed in the next round."""

    attempt: int
    stop: Shutdown
    done: set[Copy] = field(default_factory=set[Copy])
    retry: list[Copy] = field(default_factory=list[Copy])


_FanOuts = dict[tuple[Reference, PlatformFilter], FanOut]


class Run:
    """Executes rules once and keeps the results. *clock* returns monotonic seconds; *rng* spreads retries.

    Each target registry is served by a task of its own, from the first request on: it decides, copies and retries at
    its own pace. All of them take the images in the same order, so they meet at the source's blobs and share the reads.
    """

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
        self._copy_options = CopyOptions(
            options.force, options.image_seconds, options.fence, options.same_as, time.monotonic()
        )
        self._access = copier.referrers
        self._rechecks = None if self._access is None else ReferrerRechecks(self._access)
        self.unchecked_referrers = 0
        """How many unchanged images were not compared with the source's referrers, since there is no state."""
        self._clock = clock
        self._rng = rng
        self._results: dict[str, CopyResult] = {}  # By target: each target has one source.
        self._rule_results: dict[tuple[str, str], CopyResult] = {}
        self._fan_outs: _FanOuts = {}
        self._warnings: list[str] = []

    @property
    def results(self) -> tuple[CopyResult, ...]:
        """The results so far: one for each source and target."""
        return (*self._results.values(), *self._rule_results.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know beside the results."""
        slow = [
            f"{registry}: slower than other targets; it fell behind ({times} x) and read the source again"
            for registry, times in self._copier.falls_behind.items()
        ]
        return (*self._warnings, *slow, *self._copier.ways.warnings)

    async def execute(self, rules: Sequence[Rule] = (), copies: Sequence[Copy] = (), *, stop: Shutdown) -> None:
        """Execute *rules* and *copies*, and retry failures that may succeed later. Returns early after a stop."""
        self._observer.selected(len(copies))
        try:
            async with background(self._planner.prepare(rules)), asyncio.TaskGroup() as targets:
                for attempt in range(1, self._options.retries + 2):
                    selected, rules = await self._select(rules, attempt, stop)
                    lanes = self._by_registry([*copies, *selected])
                    selected.clear()  # Of 100 000 copies the lanes forget each one once it is decided.
                    copies = ()
                    while lanes:
                        targets.create_task(self._serve_target(lanes.pop(), attempt, stop), name="target")
                    if not rules or not await self._wait_for_retry(attempt, stop):
                        return
        except BaseExceptionGroup as group:
            raise first_of(cast("BaseException", group)) from None

    def _by_registry(self, copies: Sequence[Copy]) -> list[deque[Copy]]:
        """Return *copies* by target registry, and prepare shared reads for sources that several registries need."""
        lanes: dict[str, deque[Copy]] = {}
        registries: dict[tuple[Reference, PlatformFilter], list[str]] = {}
        for copy in copies:
            lanes.setdefault(copy.target.repository.registry, deque()).append(copy)
        if len(lanes) > 1 and not self._options.dry_run:
            for copy in copies:
                registries.setdefault(_content_of(copy), []).append(copy.target.repository.registry)
            self._fan_outs |= {key: FanOut(names) for key, names in registries.items() if len(set(names)) > 1}
        return list(lanes.values())

    async def _serve_target(self, copies: deque[Copy], first_attempt: int, stop: Shutdown) -> None:
        """Bring one target registry up to date: decide, copy, retry."""
        for attempt in range(first_attempt, self._options.retries + 2):
            current = _Round(attempt, stop)
            to_copy = await self._decide_all(copies, current)
            trust = frozenset(self._access.trust) if self._access is not None else frozenset[str]()
            images = round_robin(group_by_image(to_copy, apart=trust), lambda planned: planned[0].copy.rule)
            copy_image = partial(self._copy_image, current)
            is_far = self._planner.are_far(planned.copy for planned in to_copy)
            width = (self._options.far_width if is_far else None) or self._options.width
            await for_each(images, copy_image, width=width, stop=stop)
            self._interrupt(planned.copy for planned in to_copy if planned.copy not in current.done)
            copies = deque(current.retry)
            if not copies or not await self._wait_for_retry(attempt, stop):
                return

    async def _wait_for_retry(self, attempt: int, stop: Shutdown) -> bool:
        """Wait before the next attempt; False if there is none."""
        if self._options.dry_run or attempt > self._options.retries:
            return False
        await _wait(self._rng.uniform(0.5, min(_LONGEST_RETRY_WAIT_SECONDS, 2.0**attempt)), stop)
        return not stop.requested.is_set()

    async def _decide_all(self, copies: deque[Copy], current: _Round) -> list[PlannedCopy]:
        """Return the copies to make; all others get their results here."""
        to_copy: list[PlannedCopy] = []
        while copies:
            # In batches: for 100 000 images, only one batch is in memory with all its details.
            batch = [copies.popleft() for _ in range(min(_DECISION_BATCH, len(copies)))]
            to_copy += await self._decide(batch, current)
        return to_copy

    async def _decide(self, copies: Sequence[Copy], current: _Round) -> list[PlannedCopy]:
        """Return those of *copies* that must be made, and record the results of the others."""
        decided = await self._planner.decide(
            copies,
            force=self._options.force,
            stop=current.stop,
            round_number=current.attempt if self._fan_outs else None,
        )
        to_copy: list[PlannedCopy] = []
        interrupted: list[Copy] = []
        due = await self._due(decided.values())
        for copy, planned in decided.items():
            if planned.action is Action.COPY and not self._options.dry_run:
                to_copy.append(planned)
                continue
            self._leave_fan_out(copy)
            if planned.copy in due:
                to_copy.append(due[planned.copy])
            elif planned.failure is not None and planned.failure.is_interrupted:
                interrupted.append(copy)
            else:
                self._finish_without_copying(planned, current)
        self._interrupt([*interrupted, *(copy for copy in copies if copy not in decided)])
        return to_copy

    async def _due(self, decided: Iterable[PlannedCopy]) -> Mapping[Copy, PlannedCopy]:
        """Return the unchanged ones of *decided* whose referrers have to be compared now."""
        if self._rechecks is None or self._options.dry_run:
            return {}
        unchanged = [planned for planned in decided if planned.action is Action.UNCHANGED]
        selected = await self._rechecks.select(unchanged, forced=self._options.referrers)
        self.unchecked_referrers += selected.unchecked
        return {planned.copy: planned for planned in selected.due}

    async def _select(self, rules: Sequence[Rule], attempt: int, stop: Shutdown) -> tuple[list[Copy], list[Rule]]:
        """Return the copies that *rules* select and the rules to retry; record those that could not be expanded."""
        if not rules:
            return [], []
        # A rule that is selected again replaces its results; the results of other rules stay.
        keys = [(rule.result_source, str(target)) for rule in rules for target in rule.targets]
        replaced = len([key for key in keys if self._rule_results.pop(key, None)])
        selected = await self._planner.select(rules, stop=stop, listed=self._observer.listed)
        self._observer.selected(len(selected.copies) + len(selected.failures) - replaced)
        self._warnings += selected.warnings
        for failure in selected.failures:
            if failure.failure.is_interrupted:
                self._record_rule(skipped_result(failure.rule, failure.source, failure.target, INTERRUPTED))
            else:
                self._record_rule(rule_failure_result(failure, attempt))
        for rule in selected.unlisted:
            for target in rule.targets:
                self._record_rule(skipped_result(rule.name, rule.result_source, str(target), INTERRUPTED))
        return selected.copies, selected.repeatable

    async def _copy_image(self, current: _Round, copies: Sequence[PlannedCopy]) -> None:
        started = self._clock()
        for planned in copies:
            self._observer.started(planned.copy)

        def finished(planned: PlannedCopy, end: Ended | CopyFailed) -> None:
            if isinstance(end, CopyFailed) and end.is_interrupted:
                return
            self._finish(planned, end, current, self._clock() - started)
            current.done.add(planned.copy)

        fan_out = self._fan_outs.get(_content_of(copies[0].copy))
        try:
            await self._copier.copy(copies, finished, self._copy_options, fan_out)
        except Exception as error:  # noqa: BLE001 - a bug that one image triggers must not end the others
            failure = CopyFailed(Unexpected(error), side=None, step="copy")
            for planned in copies:
                if planned.copy not in current.done:
                    finished(planned, failure)
        finally:
            for planned in copies:
                if planned.action is Action.COPY:  # Others left when that was decided.
                    self._leave_fan_out(planned.copy)

    def _leave_fan_out(self, copy: Copy) -> None:
        """Let the other registries of the image wait for this copy no longer."""
        fan_out = self._fan_outs.get(_content_of(copy))
        if fan_out is not None:
            fan_out.leave(copy.target.repository.registry)

    def _finish(self, planned: PlannedCopy, end: Ended | CopyFailed, current: _Round, seconds: float) -> None:
        if isinstance(end, CopyFailed):
            if self._is_skipped(planned, end):
                result = undone_result(refused_by_gate(planned, end), current.attempt)
            elif self._rechecks is not None and self._is_unchanged_without(planned, end):
                self._rechecks.record(planned, planned.listed or NEVER_LISTED)
                reason = f"referrers not compared: {end.cause.message}"
                result = undone_result(replace(planned, reason=reason), current.attempt)
            else:
                if _can_retry(end):
                    current.retry.append(planned.copy)
                result = failed_result(planned, end, attempt=current.attempt, seconds=seconds)
        else:
            if planned.action is Action.COPY:
                self._planner.confirm([planned], written=True)
            if self._rechecks is not None and end.listed is not None:
                self._rechecks.record(planned, end.listed)
            result = copied_result(planned, end, seconds=seconds, attempt=current.attempt)
        self._record(result)

    def _is_unchanged_without(self, planned: PlannedCopy, failure: CopyFailed) -> bool:
        """Whether the image of *planned* is at the target, and only its source's manifest is gone: no gate reads it."""
        is_gone = isinstance(failure.cause, NotFound) and failure.side == "source" and failure.step == "read manifest"
        is_gated = self._access is None or self._access.trust_of(planned.copy.rule).gate is not None
        return is_gone and planned.action is Action.UNCHANGED and not is_gated

    def _is_skipped(self, planned: PlannedCopy, failure: CopyFailed) -> bool:
        """Whether the rule of *planned* skips images that its gate refuses, and this one was."""
        is_refused = isinstance(failure.cause, NotTrusted)
        return is_refused and self._access is not None and self._access.trust_of(planned.copy.rule).skips_refused

    def _finish_without_copying(self, planned: PlannedCopy, current: _Round) -> None:
        """Record the result of *planned*, which is up to date, skipped or failed, or belongs to a dry run."""
        if planned.failure is not None and _can_retry(planned.failure):
            current.retry.append(planned.copy)
        attempted = planned.failure is not None or not self._options.dry_run
        way = self._copier.ways.expected(planned.copy, self._copy_options) if planned.action is Action.COPY else None
        self._record(undone_result(planned, current.attempt if attempted else 0, way))

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


def _content_of(copy: Copy) -> tuple[Reference, PlatformFilter]:
    """Return what is read for *copy*, in whichever form its target stores it."""
    return copy.source, copy.platforms.any_form


def _can_retry(failure: CopyFailed) -> bool:
    """Whether a retry within this run can succeed: not for a used-up quota, which the run has waited for already."""
    return not failure.is_permanent and not isinstance(failure.cause, QuotaUsedUp)


async def _wait(seconds: float, stop: Shutdown) -> None:
    """Wait *seconds*, or until *stop* is requested."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.requested.wait()


def refused_by_gate(planned: PlannedCopy, failure: CopyFailed) -> PlannedCopy:
    """Return *planned* as skipped, for the reason of *failure*."""
    return replace(planned, action=Action.SKIP, reason=failure.cause.message)


def group_by_image(copies: Iterable[PlannedCopy], apart: Collection[str] = ()) -> list[Sequence[PlannedCopy]]:
    """Group *copies* of the same source image, platform filter and target repository, in their order.

    All of a group do the same about referrers. Rules in *apart* share no group with others.
    """
    groups: dict[tuple[object, ...], list[PlannedCopy]] = {}
    for planned in copies:
        copy = planned.copy
        image = copy.source.repository, planned.source_digest, copy.platforms, copy.target.repository
        key = *image, planned.action, planned.listed, copy.referrers, copy.rule if copy.rule in apart else None
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
