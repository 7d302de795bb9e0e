from dataclasses import replace
from datetime import UTC, datetime

import pytest

from image_syncer.errors import Unavailable
from image_syncer.registry.limits.circuit_breaker import CircuitBreaker

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GONE = Unavailable("registry.test: nothing listens there", remedy="start it")


def broken(*moments: float, breaker: CircuitBreaker | None = None) -> CircuitBreaker:
    """Return a breaker after failures at *moments*, each of a request that took 0.1 s."""
    breaker = breaker or CircuitBreaker()
    for moment in moments:
        breaker = breaker.after_failure(moment - 0.1, moment, NOON, GONE)
    return breaker


def answered() -> CircuitBreaker:
    """Return the breaker of a registry that has answered."""
    return CircuitBreaker().after_success()


def test_a_few_failures_hold_nobody_back() -> None:
    """One request tries four times by itself, without everybody having to wait."""
    breaker = broken(1, 2, 3, 4)
    assert not breaker.is_open
    assert breaker.delay(4) == 0


def test_failures_in_a_row_open_it() -> None:
    """The fifth does; then nobody asks until it is time for a probe."""
    breaker = broken(1, 2, 3, 4, 5)
    assert breaker.is_open
    assert breaker.delay(5) == 0.5
    assert breaker.delay(5.5) == 0


def test_an_answer_in_between_begins_the_count_anew() -> None:
    """Whatever it was: a registry that refuses one thing is there."""
    breaker = broken(5, 6, 7, 8, breaker=broken(1, 2, 3, 4).after_success())
    assert not breaker.is_open


def test_many_failures_at_once_are_one_sign() -> None:
    """Thirty requests that were on their way when a proxy was restarted say no more than one."""
    breaker = CircuitBreaker()
    for moment in range(30):
        breaker = breaker.after_failure(0.5, 1 + moment / 100, NOON, GONE)
    assert not breaker.is_open
    assert breaker.after_failure(2, 2.1, NOON, GONE).is_open


def test_one_request_probes_and_the_others_wait_for_it() -> None:
    """As long as patience lasts."""
    probing = broken(1, 2, 3, 4, 5, breaker=answered()).with_probe(running=True)
    assert probing.delay(6) == pytest.approx(0.9 + 60 - 6)


def test_a_probe_that_fails_makes_the_next_one_later() -> None:
    """0.5, 1, 2, 4 and 8 s, and never more."""
    breaker, now, waits = broken(1, 2, 3, 4, 5, breaker=answered()), 5.0, list[float]()
    for _ in range(7):
        waits.append(breaker.wait)
        now = breaker.probe_at
        breaker = broken(now + 0.1, breaker=breaker.with_probe(running=True))
    assert waits == [0.5, 1, 2, 4, 8, 8, 8]


def test_what_began_before_the_probe_does_not_end_it() -> None:
    """A request that hung for a minute says nothing about this moment."""
    probing = broken(1, 2, 3, 4, 5).with_probe(running=True)
    assert probing.after_failure(0.5, 6, NOON, GONE).probing


def test_a_probe_that_succeeds_closes_it() -> None:
    """All go on, and the count begins anew."""
    breaker = broken(1, 2, 3, 4, 5).with_probe(running=True).after_success()
    assert (breaker.delay(6), breaker.is_open, breaker.failures) == (0, False, 0)


def test_a_probe_that_tells_nothing_lets_another_one_try() -> None:
    """It was cancelled, for instance."""
    breaker = broken(1, 2, 3, 4, 5).with_probe(running=True).with_probe(running=False)
    assert breaker.delay(6) == 0


def test_patience_has_an_end() -> None:
    """A minute for a registry that has answered before, ten seconds for one that never has: it may not exist."""
    for breaker, seconds in ((answered(), 60), (CircuitBreaker(), 10)):
        opened = replace(broken(1, 2, 3, 4, 5, breaker=breaker), probe_at=999.0)
        assert opened.delay(0.8 + seconds) == pytest.approx(0.1)
        assert opened.delay(0.9 + seconds) is None
        assert opened.is_given_up(0.9 + seconds)


def test_who_is_given_up_is_probed_all_the_same() -> None:
    """A registry that comes back later is found by those who come later."""
    breaker = broken(1, 2, 3, 4, 5)
    assert breaker.delay(1000) == 0
    assert breaker.with_probe(running=True).delay(1000) is None


def test_the_reason_is_the_last_real_one() -> None:
    """With since when, what was wrong, its remedy, and when it is worth coming back."""
    breaker = broken(1, 2, 3, 4, 5)
    down = breaker.after_failure(5, 5.1, NOON, Unavailable("answers 503", status=503, code="UNAVAILABLE")).down_error(
        "registry.test", 5.2
    )
    assert str(down) == "registry.test: down since 12:00:00 UTC, last: answers 503"
    assert (down.status, down.code, down.retryable) == (503, "UNAVAILABLE", True)
    assert down.retry_after == pytest.approx(0.3)
    assert breaker.down_error("registry.test", 5).remedy == "start it"
