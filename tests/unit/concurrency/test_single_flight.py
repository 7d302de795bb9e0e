"""Single flight."""

import asyncio

import pytest

from image_syncer.concurrency.single_flight import SingleFlight


class Work:
    """Work that waits until it is told how to end."""

    def __init__(self) -> None:
        self.times = 0
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        """Count, and wait."""
        self.times += 1
        return await asyncio.shield(self.end)


async def test_one_works_and_all_get_it() -> None:
    """Who comes meanwhile waits; who comes later begins anew."""
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.do("a", work)) for _ in range(5)]
        await asyncio.sleep(0)
        work.end.set_result("done")
    assert [task.result() for task in tasks] == ["done"] * 5
    assert work.times == 1
    assert await flights.do("a", work) == "done"
    assert work.times == 2


async def test_a_failure_is_everybodys() -> None:
    """Five callers with a wrong password are one attempt."""
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()

    async def fails() -> None:
        with pytest.raises(ValueError, match="wrong"):
            await flights.do("a", work)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(fails())
        await asyncio.sleep(0)
        work.end.set_exception(ValueError("wrong"))
    assert work.times == 1


async def test_a_cancelled_leader_is_replaced() -> None:
    """One interrupted caller takes nobody else down."""
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.do("a", work))
        others = [group.create_task(flights.do("a", work)) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.sleep(0.01)
        work.end.set_result("done")
    assert [task.result() for task in others] == ["done"] * 3
    assert (leader.cancelled(), work.times) == (True, 2)


async def test_a_cancelled_follower_changes_nothing() -> None:
    """Nor does one who waits."""
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.do("a", work))
        follower = group.create_task(flights.do("a", work))
        await asyncio.sleep(0)
        follower.cancel()
        await asyncio.sleep(0)
        work.end.set_result("done")
    assert (leader.result(), follower.cancelled(), work.times) == ("done", True, 1)
