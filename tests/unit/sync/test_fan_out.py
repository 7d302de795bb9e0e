"""Which registries share a read, and how long one waits for another."""

import asyncio

import pytest

from image_syncer.oci import Digest
from image_syncer.sync.fan_out import FanOut, LagTracker, WaitBudget
from support.clocks import ManualClock

BLOB, OTHER = Digest.of(b"blob"), Digest.of(b"other")
MIB = 1024 * 1024


def test_a_registry_is_undecided_until_it_decides_or_leaves() -> None:
    """A decision concerns one blob; leaving concerns all of them."""
    fan_out = FanOut(["a.test", "b.test", "c.test"])
    fan_out.decide("a.test", BLOB)
    fan_out.leave("c.test")
    assert fan_out.undecided(BLOB) == ["b.test"]
    assert fan_out.undecided(OTHER) == ["a.test", "b.test"]


def test_a_registry_leaves_with_its_last_copy() -> None:
    """Several repositories or tags at one registry are several copies of the image."""
    fan_out = FanOut(["a.test", "b.test", "b.test"])
    fan_out.leave("b.test")
    assert fan_out.undecided(BLOB) == ["a.test", "b.test"]
    fan_out.leave("b.test")
    assert fan_out.undecided(BLOB) == ["a.test"]


async def test_a_decision_wakes_those_that_wait() -> None:
    """Without one, a wait ends after its time."""
    fan_out = FanOut(["a.test", "b.test"])
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(fan_out.wait_for_change(60.0))
        await asyncio.sleep(0)
        fan_out.decide("b.test", BLOB)
    await fan_out.wait_for_change(0.0)


@pytest.mark.parametrize(("preparation", "base"), [(0.0, 0.1), (0.3, 0.3), (9.0, 0.5)])
def test_a_single_transfer_may_wait_for_the_base_and_a_quarter_of_the_time(preparation: float, base: float) -> None:
    """Its loss grows as fast as the time, its budget by a quarter of that."""
    clock = ManualClock()
    budget = WaitBudget(clock, preparation)
    budget.add(running=1, waiting=1)
    clock.now = base / 0.75 - 0.01
    assert budget.allows(0)
    clock.now = base / 0.75 + 0.01
    assert not budget.allows(0)


def test_one_waiting_transfer_of_ten_costs_a_tenth() -> None:
    """The other nine go on, so a wait at this rate never uses up the budget."""
    clock = ManualClock()
    budget = WaitBudget(clock, 0.1)
    budget.add(running=10, waiting=1)
    clock.now = 1000.0
    assert budget.allows(0)


def test_a_large_blob_may_wait_longer() -> None:
    """A second per 40 MiB, five at most."""
    clock = ManualClock()
    budget = WaitBudget(clock, 0.1)
    budget.add(running=1, waiting=1)
    clock.now = 1.0
    assert (budget.allows(0), budget.allows(80 * MIB)) == (False, True)
    clock.now = 7.0
    assert not budget.allows(10_000 * MIB)


def test_a_registry_catches_up_by_finished_uploads() -> None:
    """It needs one after the first fall, and twice as many after each further one."""
    lags = LagTracker()
    for needed in (1, 2, 4):
        lags.fall_behind("slow.test")
        lags.fall_behind("slow.test")  # It is behind already.
        for _ in range(needed):
            assert lags.is_behind("slow.test")
            lags.finish_upload("slow.test")
        assert not lags.is_behind("slow.test")
    assert lags.falls == {"slow.test": 3}
    assert not lags.is_behind("good.test")
