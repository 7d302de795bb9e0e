from datetime import UTC, datetime

import pytest

from image_syncer.errors import Unavailable
from image_syncer.registry.limits.circuit_breaker import CircuitBreaker
from image_syncer.structs import replace

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


def test_a_few_failures_keep_the_breaker_closed() -> None:
    """One request tries four times without delaying others."""
    breaker = broken(1, 2, 3, 4)
    assert not breaker.is_open
    assert breaker.delay(4) == 0


def test_consecutive_failures_open_the_breaker() -> None:
    """The fifth does; then no request is sent until a probe is due."""
    breaker = broken(1, 2, 3, 4, 5)
    assert breaker.is_open
    assert breaker.delay(5) == 0.5
    assert breaker.delay(5.5) == 0


def test_a_response_resets_the_count() -> None:
    """With any status: a registry that refuses one request is up."""
    breaker = broken(5, 6, 7, 8, breaker=broken(1, 2, 3, 4).after_success())
    assert not breaker.is_open


def test_concurrent_failures_count_as_one_wave() -> None:
    """Thirty requests in flight when a proxy restarts say no more than one."""
    breaker = CircuitBreaker()
    for moment in range(30):
        breaker = breaker.after_failure(0.5, 1 + moment / 100, NOON, GONE)
    assert not breaker.is_open
    assert breaker.after_failure(2, 2.1, NOON, GONE).is_open


def test_one_request_probes_while_the_others_wait() -> None:
    """Until the patience is over."""
    probing = broken(1, 2, 3, 4, 5, breaker=answered()).with_probe(running=True)
    assert probing.delay(6) == pytest.approx(0.9 + 60 - 6)


def test_a_failed_probe_doubles_the_wait_for_the_next() -> None:
    """0.5, 1, 2, 4 and at most 8 s."""
    breaker, now, waits = broken(1, 2, 3, 4, 5, breaker=answered()), 5.0, list[float]()
    for _ in range(7):
        waits.append(breaker.wait)
        now = breaker.probe_at
        breaker = broken(now + 0.1, breaker=breaker.with_probe(running=True))
    assert waits == [0.5, 1, 2, 4, 8, 8, 8]


def test_a_request_from_before_the_probe_does_not_end_it() -> None:
    """A request that hung for a minute says nothing about now."""
    probing = broken(1, 2, 3, 4, 5).with_probe(running=True)
    assert probing.after_failure(0.5, 6, NOON, GONE).probing


def test_a_successful_probe_closes_the_breaker() -> None:
    """All requests run again, and the count restarts."""
    breaker = broken(1, 2, 3, 4, 5).with_probe(running=True).after_success()
    assert (breaker.delay(6), breaker.is_open, breaker.failures) == (0, False, 0)


def test_a_probe_without_a_result_allows_another() -> None:
    """It was cancelled, for instance."""
    breaker = broken(1, 2, 3, 4, 5).with_probe(running=True).with_probe(running=False)
    assert breaker.delay(6) == 0


def test_the_patience_is_bounded() -> None:
    """A minute for a registry that has answered before, ten seconds for one that never has and may not exist."""
    for breaker, seconds in ((answered(), 60), (CircuitBreaker(), 10)):
        opened = replace(broken(1, 2, 3, 4, 5, breaker=breaker), probe_at=999.0)
        assert opened.delay(0.8 + seconds) == pytest.approx(0.1)
        assert opened.delay(0.9 + seconds) is None
        assert opened.is_given_up(0.9 + seconds)


def test_probes_continue_after_the_patience() -> None:
    """Later requests find a registry that is up again."""
    breaker = broken(1, 2, 3, 4, 5)
    assert breaker.delay(1000) == 0
    assert breaker.with_probe(running=True).delay(1000) is None


def test_the_error_has_the_last_real_reason() -> None:
    """With the start of the outage, its remedy, and the time of the next probe."""
    breaker = broken(1, 2, 3, 4, 5)
    down = breaker.after_failure(5, 5.1, NOON, Unavailable("answers 503", status=503, code="UNAVAILABLE")).down_error(
        "registry.test", 5.2
    )
    assert str(down) == "registry.test: down since 12:00:00 UTC, last: answers 503"
    assert (down.status, down.code, down.retryable) == (503, "UNAVAILABLE", True)
    assert down.retry_after == pytest.approx(0.3)
    assert breaker.down_error("registry.test", 5).remedy == "start it"
