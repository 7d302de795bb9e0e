"""Results: one per selected image and target, and the observer interface for progress."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from image_syncer.errors import CopyFailed, Interrupted, Side, StoreError, Unexpected
from image_syncer.oci import Digest
from image_syncer.roles import Way
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.plan import Action, Copy, PlannedCopy, RuleFailure
from image_syncer.sync.referrer_report import ReferrerReport


class Outcome(StrEnum):
    """How one copy ended: exactly one of four ways."""

    COPIED = "copied"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Transferred(Struct):
    """Content of one copy in bytes: copied through this process, mounted at the target, or already there."""

    copied: int = 0
    mounted: int = 0
    existing: int = 0

    def __add__(self, other: "Transferred") -> "Transferred":
        return Transferred(self.copied + other.copied, self.mounted + other.mounted, self.existing + other.existing)


NOTHING: Final = Transferred()
"""No content moved; one shared object, since most of 100 000 results need it."""


class CopyResult(Struct):
    """The result of one copy.

    *source* and *target* are references, or the sides of a rule as written if its tags are unknown. *reason* explains
    `skipped` and `failed`; a failed one may have *side*, *step* and *remedy*. *failure* is the exception of a failed
    copy, None if the result comes from a record. *seconds* is wall time. *attempts* is 0 if the run attempted nothing
    (a dry run, an interrupted run). *referrers* is what became of the attached manifests; None if they were not looked
    at. *way* is how the blobs of a copied image came to the target, and in a dry run the way that is tried first; None
    if the target had all of them.
    """

    rule: str
    source: str
    target: str
    outcome: Outcome
    source_digest: Digest | None = None
    target_digest: Digest | None = None
    reason: str | None = None
    side: Side | None = None
    step: str | None = None
    remedy: str | None = None
    transferred: Transferred = NOTHING
    seconds: float = 0.0
    attempts: int = 1
    failure: CopyFailed | None = field(default=None, compare=False, repr=False)
    referrers: ReferrerReport | None = None
    way: Way | None = None


class RunResult(Struct):
    """One execution of rules.

    *requests* counts HTTP requests per side ("source", "target"), pings and tokens included. *unchecked_referrers* is
    the number of unchanged images whose referrers the run did not compare, since it had no state.
    """

    started_at: datetime
    finished_at: datetime
    results: tuple[CopyResult, ...]
    dry_run: bool = False
    requests: Mapping[Side, int] = field(default_factory=dict[Side, int])
    warnings: tuple[str, ...] = ()
    unchecked_referrers: int = 0

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """The number of copies by outcome; every outcome is a key."""
        counted = Counter(result.outcome for result in self.results)
        return {outcome: counted[outcome] for outcome in Outcome}

    @property
    def transferred(self) -> Transferred:
        """Bytes of all copies together."""
        return sum((result.transferred for result in self.results), Transferred())

    @property
    def failed(self) -> bool:
        """Whether any copy failed; then the exit code is 1."""
        return any(result.outcome is Outcome.FAILED for result in self.results)


class RunObserver(Protocol):
    """Receives the events of a run. Calls come from the event loop, must return at once and never raise."""

    def listed(self, registry: str, count: int) -> None:
        """*count* repositories of *registry* were listed so far, to find those that a pattern matches."""
        ...

    def selected(self, count: int) -> None:
        """The rules selected *count* more copies."""
        ...

    def started(self, copy: Copy) -> None:
        """The copy *copy* starts."""
        ...

    def found(self, size_bytes: int) -> None:
        """The total grows by *size_bytes*; negative if content need not be moved after all."""
        ...

    def moved(self, size_bytes: int) -> None:
        """*size_bytes* were moved; negative if they must be moved again."""
        ...

    def finished(self, result: CopyResult) -> None:
        """One copy ended; a retry may report another result for it."""
        ...


class SilentRunObserver:
    """An observer that ignores all events."""

    def listed(self, registry: str, count: int) -> None:
        """Ignore it."""

    def selected(self, count: int) -> None:
        """Ignore it."""

    def started(self, copy: Copy) -> None:
        """Ignore it."""

    def found(self, size_bytes: int) -> None:
        """Ignore it."""

    def moved(self, size_bytes: int) -> None:
        """Ignore it."""

    def finished(self, result: CopyResult) -> None:
        """Ignore it."""


_WITHOUT_COPYING = {
    Action.COPY: Outcome.COPIED,  # Only in a dry run: the outcome that a run would have.
    Action.SKIP: Outcome.SKIPPED,
    Action.UNCHANGED: Outcome.UNCHANGED,
}


INTERRUPTED: Final = "interrupted"
"""The reason of a skipped result where the run was stopped first."""

REFERRERS_COPIED: Final = "referrers"
"""The reason of a copied result where the image itself was up to date."""


class Ended(Struct):
    """A copy that succeeded: its bytes, and what became of the *referrers*; None if they were not looked at.

    *listed* is the digest of the source's list of them (`oci.referrer.list_digest`). *way* as in `CopyResult`.
    """

    transferred: Transferred = NOTHING
    referrers: ReferrerReport | None = None
    listed: Digest | None = None
    way: Way | None = None


def copied_result(planned: PlannedCopy, ended: Ended, *, seconds: float, attempt: int) -> CopyResult:
    """Return the result of a finished copy, or of an unchanged image whose referrers were compared."""
    outcome = Outcome.COPIED
    if planned.action is Action.UNCHANGED:
        if ended.referrers is None or not ended.referrers.copied:
            outcome = Outcome.UNCHANGED
        else:
            planned = replace(planned, reason=REFERRERS_COPIED)
    way = ended.way if planned.action is Action.COPY else None  # Only referrers came to an unchanged image.
    return replace(_done(planned, outcome, ended.transferred, seconds, attempt), referrers=ended.referrers, way=way)


def undone_result(planned: PlannedCopy, attempt: int, way: Way | None = None) -> CopyResult:
    """Return the result where nothing is copied: *planned* is up to date, skipped or failed, or this is a dry run.

    A run would try the *way* first.
    """
    if planned.failure is not None:
        return failed_result(planned, planned.failure, attempt=attempt)
    result = _done(planned, _WITHOUT_COPYING[planned.action], NOTHING, 0.0, attempt)
    return result if way is None else replace(result, way=way)


def failed_result(planned: PlannedCopy, failure: CopyFailed, *, attempt: int, seconds: float = 0.0) -> CopyResult:
    """Return the result of a copy that failed."""
    copy = planned.copy
    ends = str(copy.source), str(copy.target)
    return _failed(copy.rule, ends, failure, planned, (attempt, seconds))


def rule_failure_result(failed: RuleFailure, attempt: int) -> CopyResult:
    """Return the result of a rule target whose images are unknown, since the rule could not be expanded."""
    return _failed(failed.rule, (failed.source, failed.target), failed.failure, None, (attempt, 0.0))


def fail_incomplete(
    results: tuple[CopyResult, ...], failures: Mapping[str, StoreError], observer: RunObserver
) -> tuple[CopyResult, ...]:
    """Return *results*; failed are those that were copied to a layout of *failures*, which could not be completed.

    *failures* are by location. The *observer* receives each result that changes.
    """
    if not failures:
        return results
    ended: list[CopyResult] = []
    for result in results:
        error = next((failures[at] for at in failures if result.target.startswith((f"{at}:", f"{at}@"))), None)
        if error is None or result.outcome is not Outcome.COPIED:
            ended.append(result)
            continue
        ended.append(_incomplete(result, error))
        observer.finished(ended[-1])
    return tuple(ended)


def _incomplete(result: CopyResult, error: StoreError) -> CopyResult:
    if isinstance(error, Interrupted):
        return skipped_result(result.rule, result.source, result.target, INTERRUPTED)
    failure = CopyFailed(error, side="target", step="write archive")
    return _failed(result.rule, (result.source, result.target), failure, None, (result.attempts, result.seconds))


def skipped_result(rule: str, source: str, target: str, reason: str) -> CopyResult:
    """Return the result of an image that was not attempted, for *reason*."""
    return CopyResult(rule, source, target, Outcome.SKIPPED, reason=reason, attempts=0)


def _done(planned: PlannedCopy, outcome: Outcome, transferred: Transferred, seconds: float, attempt: int) -> CopyResult:
    copy = planned.copy
    is_same = planned.target_digest == planned.source_digest  # Then both keep one object: a run has 100 000 of them.
    return CopyResult(
        copy.rule,
        str(copy.source),
        str(copy.target),
        outcome,
        planned.source_digest,
        planned.source_digest if is_same else planned.target_digest,
        planned.reason,
        transferred=transferred,
        seconds=seconds,
        attempts=attempt,
    )


def _drop_tracebacks(failure: CopyFailed) -> None:
    """Release the frames that an expected error holds: a run keeps all its failures, maybe many thousands."""
    if isinstance(failure.cause, Unexpected):
        return  # Its traceback is logged.
    pending: list[BaseException | None] = [failure, failure.cause]
    seen: set[int] = set()
    while pending:
        error = pending.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            pending += [error.__cause__, error.__context__]


def _failed(
    rule: str, ends: tuple[str, str], failure: CopyFailed, planned: PlannedCopy | None, effort: tuple[int, float]
) -> CopyResult:
    attempt, seconds = effort
    _drop_tracebacks(failure)
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
