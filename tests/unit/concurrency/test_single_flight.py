"""Single flight: concurrent callers share one run of the work."""

import asyncio

import pytest

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import Unavailable

each_kind = pytest.mark.parametrize("keep", [False, True])


class Work:
    """Counts its runs; each run waits until *end* has a result or a failure."""

    def __init__(self) -> None:
        self.runs = 0
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        """Count this run, and wait."""
        self.runs += 1
        return await asyncio.shield(self.end)


@pytest.mark.parametrize(("keep", "runs"), [(False, 2), (True, 1)])
async def test_concurrent_callers_share_one_result(keep: bool, runs: int) -> None:
    """Concurrent callers wait for the running call. A later caller gets the kept result, or runs the work again."""
    flights: SingleFlight[str, str] = SingleFlight(keep=keep)
    work = Work()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.do("a", work)) for _ in range(5)]
        await asyncio.sleep(0)
        work.end.set_result("done")
    assert [task.result() for task in tasks] == ["done"] * 5
    assert work.runs == 1
    assert await flights.do("a", work) == "done"
    assert work.runs == runs


async def test_a_forgotten_result_is_worked_out_again() -> None:
    """Keys are independent of each other."""
    flights: SingleFlight[str, str] = SingleFlight(keep=True)
    work = Work()
    work.end.set_result("done")
    for key in ("a", "b"):
        await flights.do(key, work)
    flights.forget("a")
    for key in ("a", "b"):
        await flights.do(key, work)
    assert work.runs == 3


@each_kind
async def test_concurrent_callers_share_a_failure(keep: bool) -> None:
    """Five callers with a wrong password are one attempt. A later caller tries again."""
    flights: SingleFlight[str, str] = SingleFlight(keep=keep)
    work = Work()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_failure(flights, work)) for _ in range(5)]
        await asyncio.sleep(0)
        work.end.set_exception(Unavailable("wrong"))
    assert [type(task.result()) for task in tasks] == [Unavailable] * 5
    assert work.runs == 1
    assert isinstance(await _failure(flights, work), Unavailable)
    assert work.runs == 2


async def _failure(flights: SingleFlight[str, str], work: Work) -> Exception | None:
    try:
        await flights.do("a", work)
    except Unavailable as failure:
        return failure
    return None


@each_kind
async def test_without_sharing_each_waiting_caller_tries_itself(keep: bool) -> None:
    """A failure may concern only the caller whose work ran."""
    flights: SingleFlight[str, str] = SingleFlight(keep=keep, share_failures=False)

    async def work(name: str) -> str:
        await asyncio.sleep(0)
        if name == "first":
            raise Unavailable("only mine")
        return name

    results = await asyncio.gather(
        flights.do("key", lambda: work("first")), flights.do("key", lambda: work("second")), return_exceptions=True
    )
    assert isinstance(results[0], Unavailable)
    assert results[1] == "second"


@each_kind
async def test_a_waiting_caller_takes_over_from_a_cancelled_one(keep: bool) -> None:
    """The cancellation reaches only the caller that was cancelled."""
    flights: SingleFlight[str, str] = SingleFlight(keep=keep)
    work = Work()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.do("a", work))
        others = [group.create_task(flights.do("a", work)) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.sleep(0.01)
        work.end.set_result("done")
    assert [task.result() for task in others] == ["done"] * 3
    assert (leader.cancelled(), work.runs) == (True, 2)


@each_kind
async def test_a_cancelled_waiter_leaves_the_running_call_alone(keep: bool) -> None:
    """A caller may stop waiting."""
    flights: SingleFlight[str, str] = SingleFlight(keep=keep)
    work = Work()
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.do("a", work))
        follower = group.create_task(flights.do("a", work))
        await asyncio.sleep(0)
        follower.cancel()
        await asyncio.sleep(0)
        work.end.set_result("done")
    assert (leader.result(), follower.cancelled(), work.runs) == ("done", True, 1)
