"""The scheduler over a real state and a real queue."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from image_syncer.daemon.reload import LiveConfig
from image_syncer.daemon.scheduler import Scheduler
from image_syncer.jobs import JobQueue, open_jobs
from image_syncer.oci import Repository
from image_syncer.state import open_state
from image_syncer.sync.rule import AllTags, Every, Rule, RuleTarget, Triggers

TARGET = RuleTarget(Repository("target.test", "app"))
RULE = Rule("app", Repository("source.test", "app"), AllTags(), (TARGET,), triggers=Triggers(schedule=Every(10.0)))


@asynccontextmanager
async def scheduler(folder: Path, jobs: JobQueue, now: datetime) -> AsyncGenerator[None]:
    """Run a scheduler whose clock shows *now*, as after a start of the daemon."""
    async with open_state(str(folder / "state.db")) as state, asyncio.TaskGroup() as group:
        started = Scheduler(state.schedules, jobs, LiveConfig((RULE,)), lambda: now, rng=Random(1))
        await started.plan()
        running = group.create_task(started.run())
        yield
        running.cancel()


async def wait_for_jobs(jobs: JobQueue, count: int) -> None:
    """Wait until there are *count* jobs."""
    for _ in range(500):
        if len(await jobs.list()) >= count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no job within 10 s")


async def test_a_restart_after_a_clock_jump_runs_the_rule_again(tmp_path: Path) -> None:
    """The clock was 30 days ahead for a while: the rule ran then, and it runs now."""
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    async with open_jobs(str(tmp_path / "jobs.db")) as jobs:
        async with scheduler(tmp_path, jobs, now + timedelta(days=30)):
            await wait_for_jobs(jobs, 1)
        [job] = await jobs.list()
        assert await jobs.cancel(job.id)
        async with scheduler(tmp_path, jobs, now):
            await wait_for_jobs(jobs, 2)
