"""Results of failed copies, of which a run may keep many thousands."""

from pathlib import Path

import pytest

from image_syncer.errors import CopyFailed, RegistryDown, StoreError, Unexpected
from image_syncer.oci import Reference
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.result import failed_result


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
