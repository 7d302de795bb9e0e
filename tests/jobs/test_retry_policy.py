"""When a job is tried again: decisions without a clock."""

from random import Random

import pytest

from image_syncer.errors import CopyFailed, NotFound, QuotaUsedUp, RateLimited, RegistryDown, Side, Unavailable
from image_syncer.jobs import JobRetryPolicy
from image_syncer.jobs.retry_strategy import describe

_POLICY = JobRetryPolicy(attempts=8, first_wait=10.0, longest_wait=100.0, patience=1000.0)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (7, 100)])
def test_the_pause_doubles_up_to_its_bound(attempt: int, longest: float) -> None:
    """Its second half is random, so that many jobs do not return together."""
    wait = _POLICY.wait_after(Unavailable("down"), attempt, Random(3))
    assert wait is not None
    assert longest / 2 <= wait <= longest


def test_a_job_has_a_fixed_number_of_attempts() -> None:
    """The first one is included."""
    assert _POLICY.wait_after(Unavailable("down"), 7, Random(3)) is not None
    assert _POLICY.wait_after(Unavailable("down"), 8, Random(3)) is None


@pytest.mark.parametrize(("wish", "wait"), [(500.0, 500.0), (5000.0, 1000.0)])
def test_retry_after_counts_up_to_the_patience(wish: float, wait: float) -> None:
    """For a failure inside a copy, too."""
    failure = CopyFailed(RateLimited("slow down", retry_after=wish), side="target", step="push blob")
    assert _POLICY.wait_after(failure, 1, Random(3)) == wait


def test_a_used_up_quota_costs_no_attempt() -> None:
    """No request was sent: the job is postponed until the window can reset, each time, with jitter."""
    failure = CopyFailed(QuotaUsedUp("used up", retry_after=900), side="source", step="read manifest")
    policy = JobRetryPolicy(attempts=2)
    waits = [policy.wait_after(failure, attempt, Random(attempt)) for attempt in range(1, 50)]
    assert all(wait is not None and 900 <= wait <= 990 for wait in waits)
    assert not policy.is_last(failure, 50)


_HOUR = 3600.0
_DOWN = CopyFailed(RegistryDown("r.io: down since 12:00:00 UTC", retry_after=8), side="target", step="push blob")
_USED_UP = CopyFailed(QuotaUsedUp("used up", retry_after=900), side="source", step="read manifest")


@pytest.mark.parametrize(
    ("age", "least", "most"), [(0, 8, 8), (60, 8, 15), (600, 75, 150), (_HOUR, 300, 600), (72 * _HOUR, 300, 600)]
)
def test_a_registry_that_is_down_costs_no_attempt(age: float, least: float, most: float) -> None:
    """The pause is a quarter of the job's age, within bounds."""
    policy = JobRetryPolicy(attempts=2)
    waits = [policy.wait_after(_DOWN, 3, Random(number), age=age) for number in range(50)]
    assert all(wait is not None and least <= wait <= most for wait in waits)
    assert not policy.is_last(_DOWN, 3, age=age)


@pytest.mark.parametrize("error", [_DOWN, _USED_UP])
def test_after_a_week_every_attempt_counts(error: CopyFailed) -> None:
    """So a registry that never returns does not keep its jobs."""
    policy = JobRetryPolicy()
    young, old = 7 * 24 * _HOUR, 7 * 24 * _HOUR + 1
    assert policy.wait_after(error, 10, Random(1), age=young) is not None
    assert policy.wait_after(error, 9, Random(1), age=old) is not None
    assert policy.wait_after(error, 10, Random(1), age=old) is None


def test_an_outage_of_some_hours_takes_some_dozen_attempts() -> None:
    """Growing rests: a job is not asked for again and again, and is back at most ten minutes after the registry."""
    policy, rng, age, tries = JobRetryPolicy(), Random(2), 0.0, 0
    while age < 6 * _HOUR:
        wait = policy.wait_after(_DOWN, 1, rng, age=age)
        assert wait is not None
        assert wait <= 600
        age, tries = age + wait, tries + 1
    assert tries < 100


def test_a_permanent_failure_is_not_retried() -> None:
    """docs/adr/0011 applies to jobs, too; an unexpected error may be temporary."""
    assert _POLICY.wait_after(NotFound("gone"), 1, Random(3)) is None
    assert _POLICY.wait_after(ValueError("strange"), 1, Random(3)) is not None


@pytest.mark.parametrize(("side", "tries"), [("source", 4), ("target", 1)])
def test_a_missing_source_image_may_still_appear(side: Side, tries: int) -> None:
    """A push is announced before every replica has it; a target that lacks something will not get it by waiting."""
    policy, error = JobRetryPolicy(), CopyFailed(NotFound("gone"), side=side, step="resolve")
    waits = [policy.wait_after(error, attempt, Random(1)) for attempt in range(1, 6)]
    assert [wait is None for wait in waits] == [attempt >= tries for attempt in range(1, 6)]


def test_a_description_is_one_bounded_line() -> None:
    """A registry's text can neither forge lines nor break a database with a NUL, nor fill it."""
    text = describe(Unavailable("a\r\nb\x00c" + "x" * 5000))
    assert text.startswith("a\\x0d\\x0ab\\x00c")  # Escaped at the error's birth.
    assert len(text) == 2000
