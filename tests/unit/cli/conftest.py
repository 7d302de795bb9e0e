from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.cli.progress import Tally
from image_syncer.oci import Digest
from image_syncer.sync.result import CopyResult, Outcome, RunResult, Transferred
from support.clocks import ManualClock

DIGEST = Digest.of(b"manifest")
Result = Callable[..., CopyResult]
Ran = Callable[..., RunResult]


@pytest.fixture
def result() -> Result:
    """Build the result of one copy of `name`."""

    def build(name: str, outcome: Outcome = Outcome.COPIED, **more: object) -> CopyResult:
        known = {} if outcome is Outcome.FAILED else {"source_digest": DIGEST, "target_digest": DIGEST}
        source, target = f"docker.io/library/{name}", f"registry.example.com/mirror/{name}"
        fields = {"rule": name, "source": source, "target": target, "outcome": outcome, **known, **more}
        return CopyResult(**fields)  # pyright: ignore[reportArgumentType] - any field

    return build


@pytest.fixture
def ran() -> Ran:
    """Build the result of a run of 2.31 seconds."""

    def build(*results: CopyResult, **more: object) -> RunResult:
        start = datetime(2025, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
        end = start + timedelta(seconds=2.31)
        return RunResult(start, end, results, **more)  # pyright: ignore[reportArgumentType] - any field

    return build


@pytest.fixture
def moved() -> Transferred:
    """Three different amounts."""
    return Transferred(copied=123, mounted=0, existing=456)


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 100 s."""
    return ManualClock(100.0)


@pytest.fixture
def tally(clock: ManualClock) -> Tally:
    """The tally of a run that has just begun."""
    return Tally(clock)
