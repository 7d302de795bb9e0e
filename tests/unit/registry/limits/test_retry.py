from random import Random

import pytest

from image_syncer.errors import ContentMismatch, NotFound, RateLimited, StoreError, Unavailable
from image_syncer.registry.limits.retry import Retrying, RetryPolicy
from support.clients import FakeTime

GONE = Unavailable("gone")


async def failures(time: FakeTime, policy: RetryPolicy, *errors: StoreError) -> list[int]:
    """Run an operation that fails with *errors* in turn and then succeeds; return its attempts."""
    attempts: list[int] = []

    async def operation(attempt: int) -> list[int]:
        attempts.append(attempt)
        if attempt <= len(errors):
            raise errors[attempt - 1]
        return attempts

    return await Retrying(policy, Random(1), time.clock).run(operation)


def test_permanent_failures_are_not_retried() -> None:
    """A permanent failure ends at its first attempt."""
    assert RetryPolicy().wait_after(NotFound("x"), 1, Random(1)) is None


def test_attempts_are_bounded() -> None:
    """*attempts* includes the first one."""
    policy = RetryPolicy(attempts=3)
    assert policy.wait_after(GONE, 2, Random(1)) is not None
    assert policy.wait_after(GONE, 3, Random(1)) is None


def test_waits_have_full_jitter_over_a_growing_and_bounded_range() -> None:
    """Anything from 0 to the doubled wait, never beyond the longest."""
    policy, rng = RetryPolicy(attempts=99, first_wait=1, longest_wait=8), Random(1)
    for attempt, bound in ((1, 1), (2, 2), (3, 4), (4, 8), (30, 8)):
        waits = [policy.wait_after(GONE, attempt, rng) or 0 for _ in range(500)]
        assert 0 <= min(waits) < bound / 20
        assert bound * 0.95 < max(waits) <= bound


@pytest.mark.parametrize("kind", [RateLimited, Unavailable])
def test_retry_after_sets_the_wait(kind: type[RateLimited | Unavailable]) -> None:
    """Even if it is longer than the longest own wait."""
    assert RetryPolicy(longest_wait=3).wait_after(kind("x", retry_after=60), 1, Random(1)) == 60


def test_a_retry_after_beyond_the_patience_ends_the_attempts() -> None:
    """A shorter wait than requested would only annoy the registry."""
    assert RetryPolicy(patience=10).wait_after(RateLimited("x", retry_after=11), 1, Random(1)) is None


async def test_an_operation_is_repeated_until_it_succeeds() -> None:
    """The operation receives the number of its attempt."""
    time = FakeTime()
    assert await failures(time, RetryPolicy(), GONE, GONE) == [1, 2, 3]
    assert len(time.waits) == 2


async def test_the_last_failure_is_raised_unchanged() -> None:
    """Callers need not unwrap it."""
    last = Unavailable("last")
    with pytest.raises(Unavailable) as caught:
        await failures(FakeTime(), RetryPolicy(attempts=2), GONE, last)
    assert caught.value is last


async def test_a_content_mismatch_is_retried_once() -> None:
    """A damaged transfer heals; wrong content at the source stays wrong."""
    wrong = ContentMismatch("wrong")
    assert await failures(FakeTime(), RetryPolicy(), wrong) == [1, 2]
    with pytest.raises(ContentMismatch):
        await failures(FakeTime(), RetryPolicy(), wrong, wrong)


async def test_the_sum_of_waits_stays_within_the_patience() -> None:
    """Three waits of 40 s are more than 100 s."""
    time, slow = FakeTime(), RateLimited("slow", retry_after=40)
    with pytest.raises(RateLimited):
        await failures(time, RetryPolicy(patience=100), slow, slow, slow)
    assert time.waits == [40, 40]


async def test_a_rate_limit_does_not_count_as_an_attempt() -> None:
    """It is waited for until the patience is over; other failures keep their attempts."""
    time, slow = FakeTime(), RateLimited("slow", retry_after=1)
    assert await failures(time, RetryPolicy(attempts=2), *[slow] * 9, GONE, *[slow] * 9) == list(range(1, 21))
    with pytest.raises(Unavailable):
        await failures(time, RetryPolicy(attempts=2), slow, GONE, slow, GONE)


async def test_a_rate_limit_without_a_delay_counts_as_an_attempt() -> None:
    """Otherwise the attempts would have no end."""
    with pytest.raises(RateLimited):
        await failures(FakeTime(), RetryPolicy(attempts=2), *[RateLimited("slow")] * 2)
