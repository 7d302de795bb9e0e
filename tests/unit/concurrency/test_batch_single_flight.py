"""Single flight over batches of keys."""

import asyncio

import pytest

from image_syncer.concurrency.batch_single_flight import BatchSingleFlight, Claim
from image_syncer.errors import Unavailable


class Worker:
    """Works slowly through the keys it claims and records them; *broken* keys fail."""

    def __init__(self, *, share_failures: bool) -> None:
        self.flights = BatchSingleFlight[str](share_failures=share_failures)
        self.done: list[str] = []
        self.broken: set[str] = set()

    async def finish(self, *keys: str) -> Claim[str]:
        """Return the claim on *keys* when none of them is pending any more."""
        claim = self.flights.claim(keys)
        while claim.pending:
            async with claim as batch:
                self.done += batch
                for _ in range(3):
                    await asyncio.sleep(0)
                claim.failures |= {key: Unavailable(key) for key in batch if key in self.broken}
        return claim


async def test_each_key_is_worked_on_once() -> None:
    """Callers wait for keys of other callers, and each caller learns which keys it did itself."""
    worker = Worker(share_failures=False)
    first, second = await asyncio.gather(worker.finish("a", "b"), worker.finish("b", "c"))
    assert sorted(worker.done) == ["a", "b", "c"]
    assert (first.own, second.own) == ({"a", "b"}, {"c"})
    third = await worker.finish("a", "b", "c")
    assert (third.own, len(worker.done)) == (set(), 3)


@pytest.mark.parametrize(("share", "tries"), [(True, 1), (False, 2)])
async def test_a_failure_is_shared_or_tried_again_by_each_caller(share: bool, tries: int) -> None:
    """Waiting callers share the failure or try themselves; later callers always try."""
    worker = Worker(share_failures=share)
    worker.broken = {"a"}
    both = await asyncio.gather(worker.finish("a", "b"), worker.finish("a"))
    assert [set(claim.failures) for claim in both] == [{"a"}, {"a"}]
    assert worker.done.count("a") == tries
    worker.broken = set()
    assert (await worker.finish("a")).own == {"a"}


async def test_a_waiting_caller_takes_over_from_a_cancelled_one() -> None:
    """The cancellation reaches only the caller that was cancelled."""
    worker = Worker(share_failures=True)
    leader = asyncio.ensure_future(worker.finish("a"))
    await asyncio.sleep(0)
    follower = asyncio.ensure_future(worker.finish("a"))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).own == {"a"}
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_a_cancelled_waiter_leaves_the_working_caller_alone() -> None:
    """It waits for the end of the work without owning it."""
    worker = Worker(share_failures=True)
    leader = asyncio.ensure_future(worker.finish("a"))
    await asyncio.sleep(0)
    follower = asyncio.ensure_future(worker.finish("a"))
    await asyncio.sleep(0)
    follower.cancel()
    assert (await leader).own == {"a"}
    assert (follower.cancelled(), worker.done) == (True, ["a"])


async def test_an_exception_in_the_body_releases_its_keys() -> None:
    """The exception comes out, and the next caller works on the keys."""
    worker = Worker(share_failures=True)
    claim = worker.flights.claim(["a", "b"])
    with pytest.raises(ZeroDivisionError):
        async with claim:
            raise ZeroDivisionError
    assert (list(claim.pending), claim.own) == (["a", "b"], set())
    assert (await worker.finish("a", "b")).own == {"a", "b"}


async def test_callers_with_crossing_keys_do_not_deadlock() -> None:
    """Each caller finishes its own keys before it waits for another caller."""
    worker = Worker(share_failures=False)
    async with asyncio.timeout(5):
        await asyncio.gather(worker.finish("a", "b"), worker.finish("b", "a"), worker.finish("c", "a"))
    assert sorted(worker.done) == ["a", "b", "c"]


async def test_a_forgotten_key_is_worked_on_again() -> None:
    """The copier forgets a blob that the target turns out not to have."""
    worker = Worker(share_failures=False)
    await worker.finish("a")
    worker.flights.forget("a")
    await worker.finish("a")
    assert worker.done == ["a", "a"]


async def test_the_oldest_finished_keys_are_forgotten() -> None:
    """Memory stays bounded: 50 000 keys are remembered."""
    worker = Worker(share_failures=False)
    await worker.finish("oldest")
    await worker.finish(*(str(number) for number in range(50_000)))
    worker.done.clear()
    await worker.finish("oldest", "49999")
    assert worker.done == ["oldest"]
