"""From the plan of a rule to jobs: what is known needs none, every other copy is one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from image_syncer.errors import CopyFailed
from image_syncer.sync.plan import Action, Copy, Plan, PlannedCopy
from image_syncer.sync.result import CopyResult, rule_failure_result, undone_result


@dataclass(slots=True)
class Spread:
    """A divided plan. *unlisted* is why a part of the rule could not be planned, but may be later; None if all was."""

    done: list[CopyResult] = field(default_factory=list[CopyResult])
    copies: list[Copy] = field(default_factory=list[Copy])
    unlisted: CopyFailed | None = None


def divide(plan: Plan, *, attempt: int) -> Spread:
    """Divide *plan*. A copy that could not be decided, and may be later, becomes a job, which is tried again."""
    spread = Spread()
    for planned in plan.copies:
        if planned.action is Action.COPY or _may_work(planned):
            spread.copies.append(planned.copy)
        else:
            spread.done.append(undone_result(planned, attempt))
    for failed in plan.failures:
        spread.done.append(rule_failure_result(failed, attempt))
        if not failed.failure.is_permanent:
            spread.unlisted = failed.failure
    return spread


def named_tags(copies: Sequence[Copy]) -> set[tuple[str, str]]:
    """Return the (repository, tag) pairs that *copies* read; what is copied by digest no event can name."""
    return {(str(copy.source.repository), copy.source.tag) for copy in copies if copy.source.tag is not None}


def _may_work(planned: PlannedCopy) -> bool:
    return planned.failure is not None and not planned.failure.is_permanent
