"""Writers that come together share a transaction, and nothing else."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, event

from image_syncer.state import NewEvent, State

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def arrived(tag: str) -> list[NewEvent]:
    """Return what one notification brings."""
    return [NewEvent("hook", "a.test/app", tag)]


def counted_commits(state: State) -> list[int]:
    """Return a list that grows with every commit."""
    commits: list[int] = []

    def count(_connection: Connection) -> None:
        commits.append(1)

    event.listen(state.database._engine, "commit", count)  # pyright: ignore[reportPrivateUsage] - nothing else sees commits
    return commits


async def test_a_burst_of_notifications_waits_for_the_disk_a_few_times(state: State) -> None:
    """Each is durable when its call returns, yet 300 of them are far fewer transactions."""
    commits = counted_commits(state)
    arrived_all = threading.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(state.database.write(lambda _connection: arrived_all.wait(60)))  # The disk is slow just then.
        burst = [group.create_task(state.events.record(arrived(f"v{number}"), now=NOW)) for number in range(300)]
        for _ in range(10):
            await asyncio.sleep(0)
        arrived_all.set()
    ids = [task.result() for task in burst]
    assert await state.events.count_pending() == len({one for (one,) in ids}) == 300
    assert len(commits) < 30


async def test_the_failure_of_one_is_nobody_elses(state: State) -> None:
    """What failed left nothing behind; those before and after it are written."""

    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM image_syncer_events")
        raise ZeroDivisionError

    results = await asyncio.gather(
        state.events.record(arrived("v1"), now=NOW),
        state.database.write(fail, shares=True),
        state.events.record(arrived("v2"), now=NOW),
        state.database.write(fail, shares=True),
        return_exceptions=True,
    )
    assert [isinstance(result, ZeroDivisionError) for result in results] == [False, True, False, True]
    assert [found.tag for found in await state.events.list_pending()] == ["v1", "v2"]


async def test_a_commit_that_fails_is_everybodys_failure(state: State) -> None:
    """A write is confirmed only once it is durable."""

    def refuse(_connection: Connection) -> None:
        raise OSError("no space left on device")

    engine = state.database._engine  # pyright: ignore[reportPrivateUsage] - a disk cannot be filled on demand
    event.listen(engine, "commit", refuse)
    results = await asyncio.gather(
        *(state.events.record(arrived(f"v{number}"), now=NOW) for number in range(5)), return_exceptions=True
    )
    event.remove(engine, "commit", refuse)
    assert all(isinstance(result, OSError) for result in results)
    assert await state.events.count_pending() == 0


async def test_who_does_not_wait_any_more_writes_nothing(state: State) -> None:
    """A cancelled call that had not begun leaves nothing."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(state.events.record(arrived(f"v{number}"), now=NOW)) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[1:]:
            task.cancel()
    assert await state.events.count_pending() < 50
    with pytest.raises(asyncio.CancelledError):
        tasks[-1].result()
