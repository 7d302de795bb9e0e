"""From decisions and failures to results."""

from image_syncer.errors import CopyFailed
from image_syncer.sync.plan import Action, PlannedCopy, RuleFailure
from image_syncer.sync.result import NOTHING, CopyResult, Outcome, Transferred

_WITHOUT_COPYING = {
    Action.COPY: Outcome.COPIED,  # In a dry run alone: what would be.
    Action.SKIP: Outcome.SKIPPED,
    Action.UNCHANGED: Outcome.UNCHANGED,
}


def of_copied(planned: PlannedCopy, transferred: Transferred, *, seconds: float, attempt: int) -> CopyResult:
    """Return the result of a copy that was made."""
    return _of(planned, Outcome.COPIED, transferred, seconds, attempt)


def of_undone(planned: PlannedCopy, attempt: int) -> CopyResult:
    """Return the result of a copy about which nothing has to be, or in a dry run would be, or can be done."""
    if planned.failure is not None:
        return of_failed(planned, planned.failure, attempt=attempt)
    return _of(planned, _WITHOUT_COPYING[planned.action], NOTHING, 0.0, attempt)


def of_failed(planned: PlannedCopy, failure: CopyFailed, *, attempt: int, seconds: float = 0.0) -> CopyResult:
    """Return the result of a copy that failed."""
    copy = planned.copy
    ends = str(copy.source), str(copy.target)
    return _of_failure(copy.rule, ends, failure, planned, (attempt, seconds))


def of_rule_failure(failed: RuleFailure, attempt: int) -> CopyResult:
    """Return the result of a rule, or of one side of it, of which nothing is known."""
    return _of_failure(failed.rule, (failed.source, failed.target), failed.failure, None, (attempt, 0.0))


def of_skipped(rule: str, source: str, target: str, reason: str) -> CopyResult:
    """Return the result of what was not tried."""
    return CopyResult(rule, source, target, Outcome.SKIPPED, reason=reason, attempts=0)


def _of(planned: PlannedCopy, outcome: Outcome, transferred: Transferred, seconds: float, attempt: int) -> CopyResult:
    copy = planned.copy
    return CopyResult(
        copy.rule,
        str(copy.source),
        str(copy.target),
        outcome,
        planned.source_digest,
        planned.target_digest,
        planned.reason,
        transferred=transferred,
        seconds=seconds,
        attempts=attempt,
    )


def _of_failure(
    rule: str, ends: tuple[str, str], failure: CopyFailed, planned: PlannedCopy | None, tried: tuple[int, float]
) -> CopyResult:
    attempt, seconds = tried
    return CopyResult(
        rule,
        *ends,
        Outcome.FAILED,
        source_digest=planned.source_digest if planned else None,
        reason=failure.cause.message,
        side=failure.side,
        step=failure.step,
        remedy=failure.remedy,
        seconds=seconds,
        attempts=attempt,
        failure=failure,
    )
