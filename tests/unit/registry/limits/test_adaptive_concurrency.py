import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.limits.adaptive_concurrency import AimdLimit, Latency, RefusalBackoff, RequestEnd
from image_syncer.structs import replace


def refused(limit: AimdLimit, now: float) -> AimdLimit:
    """Return *limit* after a request that began a moment ago was refused."""
    return limit.after(RequestEnd(now - 0.01, congested=True), now)


def answered(limit: AimdLimit, now: float, times: int = 1, latency: float | None = None) -> AimdLimit:
    """Return *limit* after requests that went well, all at once."""
    for _ in range(times):
        limit = limit.after(RequestEnd(now - 0.01, latency=latency), now)
    return limit


def test_the_limit_starts_at_the_maximum() -> None:
    """Short runs do not pay for a slow start; a maximum of 0 counts as 1."""
    assert AimdLimit.at(40).slots == 40
    assert AimdLimit.at(0).slots == 1


@pytest.mark.parametrize(("maximum", "expected"), [(40, [20, 10, 5, 2, 1, 1]), (5, [2, 1, 1]), (1, [1, 1])])
def test_each_round_of_refusals_halves_the_slots(maximum: int, expected: list[int]) -> None:
    """Down to one and no further."""
    limit, seen = AimdLimit.at(maximum), list[int]()
    for second in range(len(expected)):
        limit = refused(limit, 100.0 + 2 * second)
        seen.append(limit.slots)
    assert seen == expected


def test_one_wave_of_refusals_halves_once() -> None:
    """Requests that began before the decrease, or within a second of it, change nothing."""
    limit = refused(AimdLimit.at(40), 100.0)
    assert limit.after(RequestEnd(99.9, congested=True), 150.0) == limit
    assert refused(limit, 100.5) == limit
    assert refused(limit, 101.5).slots == 10


def test_the_slots_recover_one_per_round() -> None:
    """Additive increase: as many responses as slots add one slot."""
    limit = answered(refused(AimdLimit.at(40), 100.0), 120.0, times=21)
    assert limit.slots == 21
    assert answered(limit, 120.0, times=2000).slots == 40


def test_the_congested_value_is_tried_again_only_after_a_while() -> None:
    """For ten seconds the value stays below the one that the registry refused."""
    limit = refused(refused(replace(AimdLimit.at(40), value=6.0), 100.0), 102.0)
    assert (limit.slots, limit.safe) == (1, 2.0)
    assert answered(limit, 111.0, times=500).slots == 2
    assert answered(limit, 112.1, times=500).slots > 20


def test_responses_from_before_the_decrease_add_no_slots() -> None:
    """They belong to another value."""
    limit = refused(AimdLimit.at(40), 100.0)
    assert limit.after(RequestEnd(99.0), 130.0) == limit


def test_lasting_slowness_removes_slots_gently() -> None:
    """Far slower than ever before for ten seconds: a fifth of the slots goes, and a quarter of the maximum stays."""
    limit = answered(AimdLimit.at(40), 100.0, latency=0.05)
    limit = answered(limit, 101.0, times=50, latency=5.0)
    assert limit.slots == 40
    limit = answered(limit, 111.0, latency=5.0)
    assert limit.slots == 32
    for second in range(112, 140):
        limit = answered(limit, float(second), latency=5.0)
    assert limit.slots == 20
    for second in range(140, 400):
        limit = replace(answered(limit, float(second), latency=5.0), latency=Latency(0.05, 5.0, 100.0))
    assert limit.slots == 10


@pytest.mark.parametrize("least", [0.0003, 0.02, 0.2])
def test_a_busy_machine_is_no_slow_registry(least: float) -> None:
    """Responses that take a hundred times as long, but less than two seconds, remove no slot."""
    limit = answered(AimdLimit.at(40), 100.0, latency=least)
    for second in range(100, 200):
        limit = answered(limit, float(second), times=5, latency=min(1.9, least * 100))
    assert limit.slots == 40


def test_a_permanently_slower_registry_counts_as_normal_again() -> None:
    """Old latencies are forgotten, and the slots recover."""
    limit = answered(AimdLimit.at(40), 100.0, latency=0.5)
    for second in range(101, 130):
        limit = answered(limit, float(second), times=5, latency=7.0)
    assert limit.slots < 40
    for second in range(130, 400):
        limit = answered(limit, float(second), times=10, latency=7.0)
    assert limit.slots == 40


EVENTS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 30), st.floats(0, 5), st.one_of(st.none(), st.floats(0, 1e6))), max_size=200
)


@given(maximum=st.integers(-3, 60), events=EVENTS)
def test_the_slots_stay_between_one_and_the_maximum_and_recover(
    maximum: int, events: list[tuple[bool, float, float, float | None]]
) -> None:
    """After the congestion, every limit returns to its maximum."""
    limit, now = AimdLimit.at(maximum), 100.0
    for congested, passed, took, latency in events:
        now += passed
        limit = limit.after(RequestEnd(now - took, congested, latency), now)
        assert 1 <= limit.slots <= max(1, maximum)
        assert limit.value >= 1
    limit = answered(replace(limit, latency=Latency()), now + 60, times=max(1, maximum) ** 2 + 10)
    assert limit.slots == max(1, maximum)


def steps(count: int, requested: float | None = None) -> list[float]:
    """Return the pauses of *count* consecutive refusals."""
    backoff, now, found = RefusalBackoff(), 0.0, list[float]()
    for _ in range(count):
        backoff = backoff.after_refusal(now, now, requested)
        found.append(backoff.step)
        now += backoff.step + 0.01
    return found


def test_the_pauses_of_a_refusing_registry_grow() -> None:
    """1, 2, 4 ... 60 seconds; a requested delay is used as it is."""
    assert steps(9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert steps(3, requested=17.0) == [17, 17, 17]


def test_one_wave_of_refusals_is_one_pause() -> None:
    """Forty concurrent refusals make no pause of a minute."""
    backoff = RefusalBackoff().after_refusal(10.0, 10.2, None)
    for _ in range(40):
        backoff = backoff.after_refusal(10.1, 10.3, None)
    assert (backoff.step, backoff.paused_at, backoff.since) == (1.0, 10.2, 10.2)


def test_a_success_resets_the_backoff() -> None:
    """If the request began after the pause; an earlier one proves nothing."""
    backoff = RefusalBackoff().after_refusal(10.0, 10.2, None)
    assert backoff.after_success(10.1) == backoff
    assert backoff.after_success(11.3) == RefusalBackoff()


def test_old_refusals_are_forgotten() -> None:
    """A daemon that retries after an hour starts with a short pause."""
    old = RefusalBackoff(60.0, paused_at=100.0, since=1.0)
    assert old.after_refusal(4000.0, 4000.0, None) == RefusalBackoff(1.0, 4000.0, 4000.0)
