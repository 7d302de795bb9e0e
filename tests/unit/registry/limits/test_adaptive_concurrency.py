from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.limits.adaptive_concurrency import AimdLimit, Latency, RefusalBackoff, RequestEnd


def refused(pace: AimdLimit, now: float) -> AimdLimit:
    """Return *pace* after a request that began a moment ago was refused."""
    return pace.after(RequestEnd(now - 0.01, congested=True), now)


def answered(pace: AimdLimit, now: float, times: int = 1, latency: float | None = None) -> AimdLimit:
    """Return *pace* after requests that went well, all at once."""
    for _ in range(times):
        pace = pace.after(RequestEnd(now - 0.01, latency=latency), now)
    return pace


def test_a_run_begins_at_the_ceiling() -> None:
    """Short runs do not pay for a slow start; a ceiling of nothing is one."""
    assert AimdLimit.at(40).slots == 40
    assert AimdLimit.at(0).slots == 1


@pytest.mark.parametrize(("ceiling", "expected"), [(40, [20, 10, 5, 2, 1, 1]), (5, [2, 1, 1]), (1, [1, 1])])
def test_each_round_of_refusals_halves_the_places(ceiling: int, expected: list[int]) -> None:
    """Down to one and no further."""
    pace, seen = AimdLimit.at(ceiling), list[int]()
    for second in range(len(expected)):
        pace = refused(pace, 100.0 + 2 * second)
        seen.append(pace.slots)
    assert seen == expected


def test_one_wave_of_refusals_halves_once() -> None:
    """What began before the decrease, or within a second of it, tells nothing new."""
    pace = refused(AimdLimit.at(40), 100.0)
    assert pace.after(RequestEnd(99.9, congested=True), 150.0) == pace
    assert refused(pace, 100.5) == pace
    assert refused(pace, 101.5).slots == 10


def test_the_places_come_back_one_per_round() -> None:
    """Additive increase: as many answers as places make one place."""
    pace = answered(refused(AimdLimit.at(40), 100.0), 120.0, times=21)
    assert pace.slots == 21
    assert answered(pace, 120.0, times=2000).slots == 40


def test_what_made_trouble_is_tried_again_only_after_a_while() -> None:
    """For ten seconds the value stays below that at which the registry refused."""
    pace = refused(refused(replace(AimdLimit.at(40), value=6.0), 100.0), 102.0)
    assert (pace.slots, pace.safe) == (1, 2.0)
    assert answered(pace, 111.0, times=500).slots == 2
    assert answered(pace, 112.1, times=500).slots > 20


def test_answers_to_what_began_before_the_decrease_widen_nothing() -> None:
    """They were given to another value."""
    pace = refused(AimdLimit.at(40), 100.0)
    assert pace.after(RequestEnd(99.0), 130.0) == pace


def test_slowness_that_lasts_takes_places_gently() -> None:
    """Far slower than ever before for ten seconds: a fifth of the places, and a quarter of the ceiling stays."""
    pace = answered(AimdLimit.at(40), 100.0, latency=0.05)
    pace = answered(pace, 101.0, times=50, latency=5.0)
    assert pace.slots == 40
    pace = answered(pace, 111.0, latency=5.0)
    assert pace.slots == 32
    for second in range(112, 140):
        pace = answered(pace, float(second), latency=5.0)
    assert pace.slots == 20
    for second in range(140, 400):
        pace = replace(answered(pace, float(second), latency=5.0), latency=Latency(0.05, 5.0, 100.0))
    assert pace.slots == 10


@pytest.mark.parametrize("least", [0.0003, 0.02, 0.2])
def test_a_busy_machine_is_no_slow_registry(least: float) -> None:
    """Answers that take a hundred times as long, and still no two seconds, take no place."""
    pace = answered(AimdLimit.at(40), 100.0, latency=least)
    for second in range(100, 200):
        pace = answered(pace, float(second), times=5, latency=min(1.9, least * 100))
    assert pace.slots == 40


def test_a_registry_that_became_slower_for_good_is_normal_again() -> None:
    """What it showed long ago is forgotten, and the places come back."""
    pace = answered(AimdLimit.at(40), 100.0, latency=0.5)
    for second in range(101, 130):
        pace = answered(pace, float(second), times=5, latency=7.0)
    assert pace.slots < 40
    for second in range(130, 400):
        pace = answered(pace, float(second), times=10, latency=7.0)
    assert pace.slots == 40


EVENTS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 30), st.floats(0, 5), st.one_of(st.none(), st.floats(0, 1e6))), max_size=200
)


@given(ceiling=st.integers(-3, 60), events=EVENTS)
def test_whatever_happens_the_places_stay_between_one_and_the_ceiling_and_come_back(
    ceiling: int, events: list[tuple[bool, float, float, float | None]]
) -> None:
    """And when the trouble is over, so is the slowness: every pace gets to its ceiling."""
    pace, now = AimdLimit.at(ceiling), 100.0
    for congested, passed, took, latency in events:
        now += passed
        pace = pace.after(RequestEnd(now - took, congested, latency), now)
        assert 1 <= pace.slots <= max(1, ceiling)
        assert pace.value >= 1
    pace = answered(replace(pace, latency=Latency()), now + 60, times=max(1, ceiling) ** 2 + 10)
    assert pace.slots == max(1, ceiling)


def steps(count: int, wish: float | None = None) -> list[float]:
    """Return the pauses of *count* refusals, one after the other."""
    backoff, now, found = RefusalBackoff(), 0.0, list[float]()
    for _ in range(count):
        backoff = backoff.after_refusal(now, now, wish)
        found.append(backoff.step)
        now += backoff.step + 0.01
    return found


def test_the_pauses_of_a_registry_that_refuses_grow() -> None:
    """1, 2, 4 ... 60 seconds; its own wish counts as it is."""
    assert steps(9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert steps(3, wish=17.0) == [17, 17, 17]


def test_one_wave_of_refusals_is_one_pause() -> None:
    """Forty that were under way make no pause of a minute."""
    backoff = RefusalBackoff().after_refusal(10.0, 10.2, None)
    for _ in range(40):
        backoff = backoff.after_refusal(10.1, 10.3, None)
    assert (backoff.step, backoff.paused_at, backoff.since) == (1.0, 10.2, 10.2)


def test_what_gets_through_ends_the_growth() -> None:
    """If it began after the pause; what was under way before proves nothing."""
    backoff = RefusalBackoff().after_refusal(10.0, 10.2, None)
    assert backoff.after_success(10.1) == backoff
    assert backoff.after_success(11.3) == RefusalBackoff()


def test_refusals_of_long_ago_are_forgotten() -> None:
    """A daemon that asks again after an hour begins with a short pause."""
    old = RefusalBackoff(60.0, paused_at=100.0, since=1.0)
    assert old.after_refusal(4000.0, 4000.0, None) == RefusalBackoff(1.0, 4000.0, 4000.0)
