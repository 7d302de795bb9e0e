"""Results of failed copies, of which a run may keep many thousands."""

from pathlib import Path

import pytest

from image_syncer.errors import CopyFailed, Interrupted, RegistryDown, StoreError, Unavailable, Unexpected
from image_syncer.oci import Reference
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.result import CopyResult, Outcome, SilentRunObserver, fail_incomplete, failed_result


def raise_failure(cause: StoreError) -> None:
    """Raise a failure whose causes were raised, too."""
    try:
        try:
            Path("/dev/null/x").stat()
        except OSError as error:
            raise cause from error
    except StoreError as error:
        raise CopyFailed(error, side="source", step="resolve") from error


def kept_tracebacks(failure: CopyFailed) -> int:
    """Return the number of errors in the chain of *failure* that still have a traceback."""
    chain: list[BaseException] = []
    error: BaseException | None = failure
    while error is not None:
        chain.append(error)
        error = error.__cause__
    assert len(chain) == 3
    return sum(each.__traceback__ is not None for each in chain)


@pytest.mark.parametrize(("cause", "kept"), [(RegistryDown("down"), 0), (Unexpected(ValueError("x")), 3)])
def test_a_failed_result_keeps_tracebacks_of_unexpected_errors_only(cause: StoreError, kept: int) -> None:
    """The frames of 20 000 expected failures take about 50 MiB."""
    with pytest.raises(CopyFailed) as raised:
        raise_failure(cause)
    failure = raised.value
    assert kept_tracebacks(failure) == 3
    source = Reference.parse("q.io/a:1")
    planned = PlannedCopy(Copy("r", source, Reference.parse("t.io/a:1")), Action.FAIL, failure=failure)
    assert failed_result(planned, failure, attempt=1).failure is failure
    assert kept_tracebacks(failure) == kept


class Seen(SilentRunObserver):
    """Keeps the results that it receives."""

    def __init__(self) -> None:
        self.results: list[CopyResult] = []

    def finished(self, result: CopyResult) -> None:
        """Keep it."""
        self.results.append(result)


def test_copies_to_an_archive_that_cannot_be_written_fail() -> None:
    """Those that were copied; not what was in it before, and no copies to other places."""
    copied, unchanged, seen = Outcome.COPIED, Outcome.UNCHANGED, Seen()
    results = (
        CopyResult("rule", "q.io/a:v1", "oci-archive:a.tar:v1", copied, attempts=2),
        CopyResult("rule", "q.io/a:v2", "oci-archive:a.tar:v2", unchanged),
        CopyResult("rule", "q.io/a@x", "oci-archive:a.tar@x", copied),
        CopyResult("rule", "q.io/a:v1", "oci-archive:a.tar2:v1", copied),
        CopyResult("rule", "q.io/a:v1", "t.io/a:v1", copied),
    )
    error = Unavailable("oci-archive:a.tar: No space left on device", remedy="free space")
    ended = fail_incomplete(results, {"oci-archive:a.tar": error}, seen)
    assert [result.outcome for result in ended] == [Outcome.FAILED, unchanged, Outcome.FAILED, copied, copied]
    assert seen.results == [ended[0], ended[2]]
    failed = ended[0]
    assert (failed.side, failed.step, failed.attempts) == ("target", "write archive", 2)
    assert (failed.reason, failed.remedy) == ("oci-archive:a.tar: No space left on device", "free space")
    assert fail_incomplete(results, {}, seen) is results


def test_copies_to_an_archive_are_skipped_if_the_run_was_stopped_first() -> None:
    """As images that were not finished are."""
    copied = CopyResult("rule", "q.io/a:v1", "oci-archive:a.tar:v1", Outcome.COPIED)
    stopped = Interrupted("oci-archive:a.tar: stopped before the archive was written")
    (skipped,) = fail_incomplete((copied,), {"oci-archive:a.tar": stopped}, Seen())
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, "interrupted")
