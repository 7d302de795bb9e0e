"""One execution of rules: select, decide, copy, repeat what failed, and one result for every selected image."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed, QuotaUsedUp, Unexpected
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.copier import Copier
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import (
    CopyResult,
    Observer,
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
_LONGEST_PAUSE_SECONDS = 30.0
_DECIDED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How rules are executed: *width* images at once, failed ones repeated *retries* times at the end.

    An image that takes longer than *image_seconds* fails; None: it takes as long as it takes.
    """

    width: int = 20
    retries: int = 2
    force: bool = False
    dry_run: bool = False
    image_seconds: float | None = None


@dataclass(slots=True)
class _Todo:
    """What one round works on."""

    rules: list[Rule] = field(default_factory=list[Rule])
    copies: list[Copy] = field(default_factory=list[Copy])

    def __bool__(self) -> bool:
        return bool(self.rules or self.copies)


class Run:
    """Executes rules once and keeps the results. *clock* gives seconds that only grow."""

    def __init__(
        self, planner: Planner, copier: Copier, observer: Observer, *, options: RunOptions, clock: Callable[[], float]
    ) -> None:
        self._planner = planner
        self._copier = copier
        self._observer = observer
        self._options = options
        self._clock = clock
        self._results: dict[str, CopyResult] = {}  # By target, which has one source.
        self._rule_results: dict[tuple[str, str], CopyResult] = {}
        self._repeat = _Todo()
        self.warnings: list[str] = []

    @property
    def results(self) -> tuple[CopyResult, ...]:
        """The results so far: one for each source and target."""
        return (*self._results.values(), *self._rule_results.values())

    async def execute(self, rules: Sequence[Rule], *, stop: Shutdown, rng: Random) -> None:
        """Execute *rules*, then repeat what failed and may succeed yet. Returns early after a stop."""
        await self._rounds(_Todo(rules=list(rules)), stop, rng)

    async def execute_copies(self, copies: Sequence[Copy], *, stop: Shutdown, rng: Random) -> None:
        """Do the same for copies that no rule has to select."""
        self._observer.selected(len(copies))
        await self._rounds(_Todo(copies=list(copies)), stop, rng)

    async def _rounds(self, todo: _Todo, stop: Shutdown, rng: Random) -> None:
        for attempt in range(1, self._options.retries + 2):
            self._repeat = _Todo()
            await self._round(todo, attempt, stop)
            todo = self._repeat
            if not todo or self._options.dry_run or attempt > self._options.retries:
                return
            await _pause(rng.uniform(0.5, min(_LONGEST_PAUSE_SECONDS, 2.0**attempt)), stop)
            if stop.requested.is_set():
                return

    async def _round(self, todo: _Todo, attempt: int, stop: Shutdown) -> None:
        selected = deque([*todo.copies, *await self._select(todo.rules, attempt, stop)])
        todo.copies.clear()
        to_copy: list[PlannedCopy] = []
        while selected:
            # By parts, so that of 100 000 images at most one part is known in every detail.
            part = [selected.popleft() for _ in range(min(_DECIDED_AT_ONCE, len(selected)))]
            to_copy += await self._decide(part, attempt, stop)
        await self._copy_all(to_copy, attempt, stop)

    async def _decide(self, copies: Sequence[Copy], attempt: int, stop: Shutdown) -> list[PlannedCopy]:
        """Return what of *copies* has to be copied; the others get their results."""
        decided = await self._planner.decide(copies, force=self._options.force, stop=stop)
        to_copy: list[PlannedCopy] = []
        interrupted: list[Copy] = []
        for copy, planned in decided.items():
            if planned.action is Action.COPY and not self._options.dry_run:
                to_copy.append(planned)
            elif planned.failure is not None and planned.failure.is_interrupted:
                interrupted.append(copy)
            else:
                self._finish_undone(planned, attempt)
        self._interrupt([*interrupted, *(copy for copy in copies if copy not in decided)])
        return to_copy

    async def _select(self, rules: Sequence[Rule], attempt: int, stop: Shutdown) -> list[Copy]:
        """Select, and record what could not be selected."""
        # A rule that is selected again gets new results; those of other rules stay.
        again = [(rule.name, str(target)) for rule in rules for target in rule.targets]
        before = len([key for key in again if self._rule_results.pop(key, None)])
        selected = await self._planner.select(rules, stop=stop)
        self._observer.selected(len(selected.copies) + len(selected.failures) - before)
        self.warnings += selected.warnings
        for failure in selected.failures:
            if failure.failure.is_interrupted:
                self._record_rule(skipped_result(failure.rule, failure.source, failure.target, INTERRUPTED))
            else:
                self._record_rule(rule_failure_result(failure, attempt))
        for rule in selected.unlisted:
            for target in rule.targets:
                self._record_rule(skipped_result(rule.name, rule.name, str(target), INTERRUPTED))
        self._repeat.rules += selected.repeatable
        return selected.copies

    async def _copy_all(self, planned_copies: Sequence[PlannedCopy], attempt: int, stop: Shutdown) -> None:
        done: set[Copy] = set()

        async def copy_image(copies: Sequence[PlannedCopy]) -> None:
            started = self._clock()
            for planned in copies:
                self._observer.started(planned.copy)

            def finished(planned: PlannedCopy, how: Transferred | CopyFailed) -> None:
                if isinstance(how, CopyFailed) and how.is_interrupted:
                    return
                self._finish(planned, how, attempt, self._clock() - started)
                done.add(planned.copy)

            options = self._options
            try:
                await self._copier.copy(copies, finished, force=options.force, seconds=options.image_seconds)
            except Exception as error:  # noqa: BLE001 - a mistake of ours with one image must not end the others
                failure = CopyFailed(Unexpected(error), side=None, step="copy")
                for planned in copies:
                    if planned.copy not in done:
                        finished(planned, failure)

        images = group_by_image(planned_copies)
        await for_each(
            round_robin(images, lambda copies: copies[0].copy.rule), copy_image, width=self._options.width, stop=stop
        )
        self._interrupt(planned.copy for planned in planned_copies if planned.copy not in done)

    def _finish(self, planned: PlannedCopy, how: Transferred | CopyFailed, attempt: int, seconds: float) -> None:
        if isinstance(how, CopyFailed):
            if _is_worth_repeating(how):
                self._repeat.copies.append(planned.copy)
            result = failed_result(planned, how, attempt=attempt, seconds=seconds)
        else:
            self._planner.confirm([planned], written=True)
            result = copied_result(planned, how, seconds=seconds, attempt=attempt)
        self._record(result)

    def _finish_undone(self, planned: PlannedCopy, attempt: int) -> None:
        """Record a copy about which nothing has to be, or in a dry run would be, or can be done."""
        if planned.failure is not None and _is_worth_repeating(planned.failure):
            self._repeat.copies.append(planned.copy)
        tried = planned.failure is not None or not self._options.dry_run
        self._record(undone_result(planned, attempt if tried else 0))

    def _interrupt(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            if str(copy.target) in self._results:
                continue  # It failed before; that it was not repeated is no better news.
            self._record(skipped_result(copy.rule, str(copy.source), str(copy.target), INTERRUPTED))

    def _record(self, result: CopyResult) -> None:
        self._results[result.target] = result
        self._observer.finished(result)

    def _record_rule(self, result: CopyResult) -> None:
        self._rule_results[result.source, result.target] = result
        self._observer.finished(result)


def _is_worth_repeating(failure: CopyFailed) -> bool:
    """Whether the end of this run may be late enough: a used-up quota has been waited for as long as we wanted."""
    return not failure.is_permanent and not isinstance(failure.cause, QuotaUsedUp)


async def _pause(seconds: float, stop: Shutdown) -> None:
    """Wait before a repetition, but not past a stop."""
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
