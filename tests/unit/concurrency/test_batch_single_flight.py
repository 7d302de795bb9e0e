"""Claims: many who need the same things, each of which is done once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from image_syncer.concurrency.batch_single_flight import BatchSingleFlight
from image_syncer.errors import Unavailable


class Workshop:
    """Does what it is given, slowly, and notes it; *broken* keys fail."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()

    async def work(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Do *keys* in one go."""
        self.done += keys
        for _ in range(3):
            await asyncio.sleep(0)
        return {key: Unavailable(key) for key in keys if key in self.broken}


async def test_what_others_do_is_waited_for_and_not_done_again() -> None:
    """Each key is done once; those who did it know that it was they."""
    claims, shop = BatchSingleFlight[str](share_failures=False), Workshop()
    first, second = await asyncio.gather(claims.see_to(["a", "b"], shop.work), claims.see_to(["b", "c"], shop.work))
    assert sorted(shop.done) == ["a", "b", "c"]
    assert (first.own, second.own) == ({"a", "b"}, {"c"})
    third = await claims.see_to(["a", "b", "c"], shop.work)
    assert (third.own, len(shop.done)) == (set(), 3)


@pytest.mark.parametrize(("share", "tries"), [(True, 1), (False, 2)])
async def test_a_failure_is_everybodys_or_each_ones_own(share: bool, tries: int) -> None:
    """Who waited gets it, or tries himself; who comes later always tries."""
    claims, shop = BatchSingleFlight[str](share_failures=share), Workshop()
    shop.broken = {"a"}
    both = await asyncio.gather(claims.see_to(["a", "b"], shop.work), claims.see_to(["a"], shop.work))
    assert [set(seen.failures) for seen in both] == [{"a"}, {"a"}]
    assert shop.done.count("a") == tries
    shop.broken = set()
    assert (await claims.see_to(["a"], shop.work)).own == {"a"}


async def test_work_that_is_cancelled_falls_to_those_who_wait() -> None:
    """They are not cancelled with it."""
    claims, shop = BatchSingleFlight[str](share_failures=True), Workshop()
    leader = asyncio.ensure_future(claims.see_to(["a"], shop.work))
    await asyncio.sleep(0)
    follower = asyncio.ensure_future(claims.see_to(["a"], shop.work))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).own == {"a"}
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_crossing_claims_do_not_wait_in_a_circle() -> None:
    """Each does his own part before he waits for the other's."""
    claims, shop = BatchSingleFlight[str](share_failures=False), Workshop()
    async with asyncio.timeout(5):
        await asyncio.gather(*(claims.see_to(keys, shop.work) for keys in (["a", "b"], ["b", "a"], ["c", "a"])))
    assert sorted(shop.done) == ["a", "b", "c"]


async def test_what_is_forgotten_is_done_again() -> None:
    """As where a target turns out not to have it."""
    claims, shop = BatchSingleFlight[str](share_failures=False), Workshop()
    await claims.see_to(["a"], shop.work)
    claims.forget("a")
    await claims.see_to(["a"], shop.work)
    assert shop.done == ["a", "a"]
