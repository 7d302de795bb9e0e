"""The number of transfers follows the throughput."""

from image_syncer.structs import replace
from image_syncer.sync.transfer_probe import TransferProbe, TransferRange, transfers_between

_MIB = 1024 * 1024


def run(probe: TransferProbe, seconds: float, most_bytes: float, each_bytes: float) -> list[int]:
    """Move bytes for *seconds* and return the numbers of transfers: each one carries *each_bytes* a second."""
    values, now, step = [probe.value], probe.since, 0.1
    for _ in range(round(seconds / step)):
        now += step
        rate = min(most_bytes, probe.value * each_bytes)
        probe = probe.after(int(rate * step), now, has_waiting=True)
        values.append(probe.value)
    return values


def test_transfers_grow_while_each_one_adds_throughput() -> None:
    """A line that limits each connection gets all that are allowed within two seconds."""
    values = run(TransferProbe.begin(TransferRange(5, 16), 0.0), 2.6, 1e12, 20 * _MIB)
    assert [value for value, before in zip(values[1:], values, strict=False) if value != before] == [7, 10, 15, 16]


def test_a_trial_that_gains_nothing_is_undone_and_repeated_ever_later() -> None:
    """A busy processor or a full line is left with the transfers that fill it."""
    values = run(TransferProbe.begin(TransferRange(5, 16), 0.0), 40.0, 100 * _MIB, 50 * _MIB)
    assert set(values) == {5, 7}
    assert sum(value == 7 for value in values) < 25
    assert values[-1] == 5


def test_the_limit_is_never_exceeded() -> None:
    """A user's limit is a ceiling, also if it is below the usual beginning."""
    assert set(run(TransferProbe.begin(TransferRange(5, 3), 0.0), 5.0, 1e12, _MIB)) == {3}
    assert set(run(TransferProbe.begin(TransferRange(0, 0), 0.0), 5.0, 1e12, _MIB)) == {1}


def test_an_interval_without_waiting_transfers_changes_nothing() -> None:
    """The slots were not all used, so the throughput says nothing about their number."""
    probe = TransferProbe.begin(TransferRange(5, 16), 0.0)
    for second in range(1, 10):
        probe = probe.after(100 * _MIB, float(second), has_waiting=False)
    assert probe.value == 5


def test_a_far_registry_gets_all_transfers_at_once() -> None:
    """Its line is limited by round trips, so a slow beginning only costs time."""
    assert transfers_between(16, is_far=True) == TransferRange(16, 16)
    assert transfers_between(16, is_far=False) == TransferRange(5, 16)
    probe = TransferProbe.begin(TransferRange(5, 16), 0.0)
    assert probe.raised(16) == replace(probe, value=16)
    assert probe.raised(3) is probe
    assert probe.raised(99).value == 16
