"""The fraction and the remaining time of a run."""

from itertools import pairwise
from typing import Any

import pytest

from image_syncer.cli.estimate import RemainingTime, done_fraction, expected_bytes
from image_syncer.cli.progress import Tally
from image_syncer.oci import Reference
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome
from support.clocks import ManualClock

MIB = 1024 * 1024


def start(tally: Tally, name: str, size: int) -> None:
    """Start the copy of *name*, which has to move *size* bytes."""
    source = Reference.parse(f"docker.io/library/{name}")
    tally.started(Copy(name, source, Reference.parse(f"registry.example.com/mirror/{name}")))
    tally.found(size)


def test_one_big_image_fills_the_bar_by_bytes(tally: Tally) -> None:
    """The number of images alone would show 0 until the end."""
    tally.selected(1)
    start(tally, "big:1", 500 * MIB)
    tally.moved(125 * MIB)
    assert done_fraction(tally) == 0.25


def test_images_that_have_not_started_count_as_average_ones(tally: Tally, result: Any) -> None:
    """Their sizes are unknown: 5 of 50 images with 10 MiB mean 100 MiB."""
    tally.selected(50)
    for number in range(5):
        start(tally, f"a:{number}", 2 * MIB)
    tally.moved(10 * MIB)
    assert expected_bytes(tally) == 100 * MIB
    assert done_fraction(tally) == pytest.approx(0.1)
    assert RemainingTime().update(tally, MIB) == pytest.approx(90)


def test_without_bytes_images_count(tally: Tally, clock: ManualClock, result: Any) -> None:
    """Unchanged images move nothing."""
    tally.selected(4)
    assert done_fraction(tally) == 0
    assert RemainingTime().update(tally, 0) is None
    clock.now += 3
    tally.finished(result("a:1", Outcome.UNCHANGED))
    assert done_fraction(tally) == 0.25
    assert RemainingTime().update(tally, 0) == 9


def test_a_finished_run_is_full_and_needs_no_time(tally: Tally, result: Any) -> None:
    """Bytes that a mount made needless do not matter."""
    tally.selected(1)
    tally.found(100)
    tally.finished(result("a:1"))
    assert done_fraction(tally) == 1
    assert Tally(tally.clock).total == 0
    assert done_fraction(Tally(tally.clock)) == 0


def test_the_shown_time_does_not_jump(tally: Tally, clock: ManualClock) -> None:
    """The rate halves at once: the time grows smoothly to the new estimate, and falls with the clock."""
    tally.selected(1)
    start(tally, "big:1", 1000 * MIB)
    remaining = RemainingTime()
    shown: list[float] = []
    for tick in range(400):
        rate = 10 * MIB if tick < 80 else 5 * MIB
        tally.moved(rate // 8)
        clock.now += 0.125
        seconds = remaining.update(tally, rate)
        assert seconds is not None
        shown.append(seconds)
    assert shown[79] == pytest.approx(90, abs=1)
    assert max(abs(later - earlier) for earlier, later in pairwise(shown)) < 2.5
    assert shown[-1] == pytest.approx(140, abs=3)


def test_a_stall_keeps_the_last_estimate(tally: Tally, clock: ManualClock) -> None:
    """A rate of 0 has no estimate of its own."""
    tally.selected(1)
    start(tally, "big:1", 100)
    remaining = RemainingTime()
    assert remaining.update(tally, 0) is None
    assert remaining.update(tally, 10) == 10
    clock.now += 1
    assert remaining.update(tally, 0) == 10
