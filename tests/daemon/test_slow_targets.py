"""A daemon's rule with a target that never answers: the good target beside it has its images as if it were alone."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.test_job_handlers import Bench, bench
from image_syncer.app import Options
from image_syncer.jobs import JobFilter, JobStatus
from image_syncer.oci import Repository
from image_syncer.registry.settings import RegistryAccount, Timeouts
from image_syncer.structs import replace
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import Rule, RuleTarget
from image_syncer.testing.images import single
from support.slow_target import silent_host

IMAGES = 30
SLACK_SECONDS = 1.0
"""What the scheduling of a busy machine may add to a measurement of a second or two."""
OPTIONS = Options(
    (RegistryAccount("127.0.0.1", insecure=True),), retries=0, timeouts=Timeouts(connect=2.0, stall=2.0, patience=0.0)
)


@asynccontextmanager
async def filled(folder: Path) -> AsyncGenerator[Bench]:
    """Open everything, with images at the source."""
    async with bench(folder, OPTIONS) as it:
        for number in range(IMAGES):
            it.source.load("app", single(f"seed {number}"), f"t{number}")
        yield it


async def seconds_to_copy(it: Bench, rule: Rule) -> float:
    """Request *rule*, and return the seconds until its first target has all images."""
    it.use(rule)
    began, target = time.monotonic(), rule.targets[0]
    assert isinstance(target, RuleTarget)
    await it.services.jobs.request_rule(rule.name)
    async with asyncio.timeout(60):
        while len(it.target.content(target.repository.path).tags) < IMAGES:  # noqa: ASYNC110 - a fake has no event
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_silent_target_does_not_delay_the_plan_of_a_good_one(tmp_path: Path) -> None:
    """Within 1.5 times of what it needs alone. The copies to the silent one become jobs, which wait for it."""
    folders = [tmp_path / name for name in ("alone", "beside")]
    for folder in folders:
        folder.mkdir()
    async with filled(folders[0]) as it:
        alone = await seconds_to_copy(it, it.rule())
    async with filled(folders[1]) as it, silent_host() as silent:
        rule = it.rule()
        both = replace(rule, targets=(*rule.targets, RuleTarget(Repository(silent, "copied"))))
        assert await seconds_to_copy(it, both) <= 1.5 * alone + SLACK_SECONDS
        jobs = it.services.jobs
        async with asyncio.timeout(60):
            while not await jobs.list(JobFilter(frozenset({JobStatus.SUCCEEDED}), kind="rule")):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        open_jobs = await jobs.list(JobFilter(frozenset({JobStatus.WAITING, JobStatus.RUNNING})))
        assert len(open_jobs) == IMAGES
        assert {job.args["target"].partition("/")[0] for job in open_jobs} == {silent}
        (run,) = await it.services.state.runs.page()
        assert (run.counts[Outcome.COPIED], run.finished_at) == (IMAGES, None)
