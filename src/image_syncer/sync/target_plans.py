"""A plan in parts: each target registry is asked at its own pace, so that a slow or silent one delays no other."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from image_syncer.structs import Struct, field
from image_syncer.sync.plan import Action, Copy, Plan, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.rule import Rule
from image_syncer.sync.rule_expander import Selected

_GRACE_SHARE: Final = 0.25  # of the time of the first registry, so that registries of equal pace are one part
_SHORTEST_GRACE_SECONDS: Final = 0.2
_SILENT_SECONDS: Final = 10.0
_ROUND: Final = 1  # One for all registries: they share the resolved sources.


class _Part(Struct, frozen=False):
    """The *copies* to one target registry, the decisions so far, and the task that decides."""

    copies: list[Copy]
    task: asyncio.Task[object]
    decided: dict[Copy, PlannedCopy]

    @property
    def planned(self) -> list[PlannedCopy]:
        """The decision about each copy; one without a decision is to be made, and decides again."""
        return [self.decided.get(copy) or PlannedCopy(copy, Action.COPY) for copy in self.copies]


class TargetPlans(Struct, frozen=False):
    """The parts of a plan: call `early`, then iterate over `late`."""

    selected: Selected
    parts: list[_Part] = field(default_factory=list[_Part])

    async def early(self) -> Plan:
        """Return the plan of the registry that is first and of those that are nearly as fast, with all failures."""
        began, tasks = time.monotonic(), [part.task for part in self.parts]
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            grace = max(_SHORTEST_GRACE_SECONDS, _GRACE_SHARE * (time.monotonic() - began))
            await asyncio.wait(tasks, timeout=grace)
        return Plan(self._take_done(), tuple(self.selected.failures), tuple(self.selected.warnings))

    @property
    def undecided(self) -> list[Copy]:
        """The copies of the parts that are still to come."""
        return [copy for part in self.parts for copy in part.copies]

    async def late(self) -> AsyncIterator[Plan]:
        """Yield the plan of each slower registry as it is done.

        The rest of a registry that decides nothing for 10 seconds is to be copied: its copies decide again.
        """
        while self.parts:
            before = [len(part.decided) for part in self.parts]
            tasks = [part.task for part in self.parts]
            await asyncio.wait(tasks, timeout=_SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done := self._take_done():
                yield Plan(done)
                continue
            silent = [part for part, count in zip(self.parts, before, strict=True) if len(part.decided) == count]
            self.parts = [part for part in self.parts if part not in silent]
            if silent:
                for part in silent:
                    part.task.cancel()
                yield Plan(tuple(planned for part in silent for planned in part.planned))

    def _take_done(self) -> tuple[PlannedCopy, ...]:
        """Remove the parts that are done, and return their decisions."""
        done = [part for part in self.parts if part.task.done()]
        self.parts = [part for part in self.parts if not part.task.done()]
        return tuple(planned for part in done for planned in part.planned)


@asynccontextmanager
async def plans_by_target(planner: Planner, rules: Sequence[Rule]) -> AsyncGenerator[TargetPlans]:
    """Select the copies of *rules* and decide about those of each target registry in a task of its own."""
    selected = await planner.select(rules)
    by_registry: dict[str, list[Copy]] = {}
    for copy in selected.copies:
        by_registry.setdefault(copy.target.repository.registry, []).append(copy)
    async with asyncio.TaskGroup() as group:
        plans = TargetPlans(selected)
        for copies in by_registry.values():
            decided: dict[Copy, PlannedCopy] = {}
            task = group.create_task(planner.decide(copies, round_number=_ROUND, decided=decided))
            plans.parts.append(_Part(copies, task, decided))
        try:
            yield plans
        finally:
            for part in plans.parts:
                part.task.cancel()
