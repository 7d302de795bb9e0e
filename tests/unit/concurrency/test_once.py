"""Once: the same work is done once, whoever asks and whoever gives up."""

import asyncio

import pytest

from image_syncer.concurrency.once import Once
from image_syncer.errors import Unavailable


async def test_many_who_ask_at_once_share_one_result() -> None:
    """The work runs once; everybody gets its result."""
    once: Once[str, int] = Once(share_failures=True)
    ran = 0

    async def work() -> int:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0)
        return 7

    assert await asyncio.gather(*(once.do("key", work) for _ in range(5))) == [7] * 5
    assert (ran, once.known("key")) == (1, 7)


async def test_a_shared_failure_is_everybodys() -> None:
    """It is not tried again by those who waited, but by who comes later."""
    once: Once[str, int] = Once(share_failures=True)
    ran = 0

    async def work() -> int:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0)
        raise Unavailable("down")

    results = await asyncio.gather(*(once.do("key", work) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    with pytest.raises(Unavailable):
        await once.do("key", work)
    assert ran == 2


async def test_without_sharing_each_who_waited_tries_himself() -> None:
    """The failure of one repository may be its own."""
    once: Once[str, str] = Once(share_failures=False)

    async def work(name: str) -> str:
        await asyncio.sleep(0)
        if name == "first":
            raise Unavailable("only mine")
        return name

    results = await asyncio.gather(
        once.do("key", lambda: work("first")), once.do("key", lambda: work("second")), return_exceptions=True
    )
    assert isinstance(results[0], Unavailable)
    assert results[1] == "second"


async def test_a_cancelled_leader_is_replaced() -> None:
    """Who waited neither hangs nor is cancelled with it."""
    once: Once[str, str] = Once(share_failures=True)
    begun = asyncio.Event()

    async def for_ever() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def quick() -> str:
        await asyncio.sleep(0)
        return "second"

    async with asyncio.TaskGroup() as group:
        leader = group.create_task(once.do("key", for_ever))
        await begun.wait()
        follower = group.create_task(once.do("key", quick))
        await asyncio.sleep(0)
        leader.cancel()
    assert follower.result() == "second"


async def test_a_cancelled_follower_leaves_the_leader_alone() -> None:
    """Waiting can be given up."""
    once: Once[str, str] = Once(share_failures=True)
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    async with asyncio.TaskGroup() as group:
        leader = group.create_task(once.do("key", work))
        await asyncio.sleep(0)
        follower = group.create_task(once.do("key", work))
        await asyncio.sleep(0)
        follower.cancel()
        await asyncio.sleep(0)
        go.set()
    assert leader.result() == "done"
