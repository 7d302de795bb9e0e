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


def test_what_cannot_heal_is_not_tried_again() -> None:
    """A permanent failure ends at its first attempt."""
    assert RetryPolicy().wait_after(NotFound("x"), 1, Random(1)) is None


def test_the_last_attempt_is_the_last() -> None:
    """*attempts* counts the first try."""
    policy = RetryPolicy(attempts=3)
    assert policy.wait_after(GONE, 2, Random(1)) is not None
    assert policy.wait_after(GONE, 3, Random(1)) is None


def test_waits_are_spread_over_a_growing_and_bounded_range() -> None:
    """Full jitter: anything from nothing to the doubled wait, never beyond the longest."""
    policy, rng = RetryPolicy(attempts=99, first_wait=1, longest_wait=8), Random(1)
    for attempt, bound in ((1, 1), (2, 2), (3, 4), (4, 8), (30, 8)):
        waits = [policy.wait_after(GONE, attempt, rng) or 0 for _ in range(500)]
        assert 0 <= min(waits) < bound / 20
        assert bound * 0.95 < max(waits) <= bound


@pytest.mark.parametrize("kind", [RateLimited, Unavailable])
def test_what_the_server_asks_for_is_what_we_wait(kind: type[RateLimited | Unavailable]) -> None:
    """Retry-After counts, even where it is longer than our longest wait."""
    assert RetryPolicy(longest_wait=3).wait_after(kind("x", retry_after=60), 1, Random(1)) == 60


def test_a_wish_beyond_our_patience_ends_it() -> None:
    """Waiting shorter than was asked for would only annoy."""
    assert RetryPolicy(patience=10).wait_after(RateLimited("x", retry_after=11), 1, Random(1)) is None


async def test_an_operation_is_repeated_until_it_succeeds() -> None:
    """The operation learns the number of its attempt."""
    time = FakeTime()
    assert await failures(time, RetryPolicy(), GONE, GONE) == [1, 2, 3]
    assert len(time.waits) == 2


async def test_the_last_failure_comes_out_unchanged() -> None:
    """Nobody has to unwrap anything."""
    last = Unavailable("last")
    with pytest.raises(Unavailable) as caught:
        await failures(FakeTime(), RetryPolicy(attempts=2), GONE, last)
    assert caught.value is last


async def test_wrong_content_is_tried_once_more_and_not_oftener() -> None:
    """A damaged transfer heals; a liar does not get our bandwidth."""
    wrong = ContentMismatch("wrong")
    assert await failures(FakeTime(), RetryPolicy(), wrong) == [1, 2]
    with pytest.raises(ContentMismatch):
        await failures(FakeTime(), RetryPolicy(), wrong, wrong)


async def test_all_waits_together_stay_within_our_patience() -> None:
    """Three waits of 40 s are more than 100 s."""
    time, slow = FakeTime(), RateLimited("slow", retry_after=40)
    with pytest.raises(RateLimited):
        await failures(time, RetryPolicy(patience=100), slow, slow, slow)
    assert time.waits == [40, 40]


async def test_being_asked_to_slow_down_is_no_failed_attempt() -> None:
    """It is waited for until the patience is over, and other failures have their attempts beside it."""
    time, slow = FakeTime(), RateLimited("slow", retry_after=1)
    assert await failures(time, RetryPolicy(attempts=2), *[slow] * 9, GONE, *[slow] * 9) == list(range(1, 21))
    with pytest.raises(Unavailable):
        await failures(time, RetryPolicy(attempts=2), slow, GONE, slow, GONE)


async def test_a_refusal_that_names_no_time_is_a_failed_attempt() -> None:
    """Nobody would know how long to go on."""
    with pytest.raises(RateLimited):
        await failures(FakeTime(), RetryPolicy(attempts=2), *[RateLimited("slow")] * 2)
