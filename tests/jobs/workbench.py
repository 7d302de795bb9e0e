"""A worker with short intervals, handlers that record their calls, and waits for conditions."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from image_syncer.errors import RateLimited
from image_syncer.jobs import (
    CopyJob,
    CopyRequest,
    Handlers,
    JobQueue,
    JobRecord,
    JobRetryPolicy,
    RuleJob,
    WorkerOptions,
)
from image_syncer.oci import Reference
from image_syncer.structs import replace

QUICK = WorkerOptions(
    poll=0.1,
    drain=2.0,
    stalled=2.0,
    deaths=5,
    retry=JobRetryPolicy(attempts=3, first_wait=0.05, longest_wait=0.05),
)
HURRIED = replace(QUICK, drain=0.05)
SLUGGISH = replace(QUICK, retry=JobRetryPolicy(attempts=3, first_wait=60.0, longest_wait=60.0))


async def _nothing(_job: CopyJob) -> None:
    await asyncio.sleep(0)


@dataclass
class Hands:
    """Handlers that record their jobs in order, then do what the test has set."""

    act: Callable[[CopyJob], Awaitable[None]] = _nothing
    begun: list[CopyJob] = field(default_factory=list[CopyJob])
    ended: list[CopyJob] = field(default_factory=list[CopyJob])
    rules: list[RuleJob] = field(default_factory=list[RuleJob])
    running: list[CopyJob] = field(default_factory=list[CopyJob])
    most: int = 0
    overlaps: list[str] = field(default_factory=list[str])

    async def copy(self, job: CopyJob) -> None:
        """Record the job and the jobs that run at the same time."""
        self.overlaps += [str(job.target) for other in self.running if other.target == job.target]
        self.begun.append(job)
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        try:
            await self.act(job)
        finally:
            self.running.remove(job)
        self.ended.append(job)

    async def rule(self, job: RuleJob) -> None:
        """Record the rule."""
        self.rules.append(job)

    def handlers(self) -> Handlers:
        """Return the handlers in the form that a worker takes."""
        return Handlers(copy=self.copy, rule=self.rule)


@asynccontextmanager
async def working(jobs: JobQueue, hands: Hands, options: WorkerOptions = QUICK) -> AsyncGenerator[None]:
    """Work inside the context, and drain at its end."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(jobs.run_worker(hands.handlers(), options, stop=stop, rng=Random(7)))
        try:
            yield
        finally:
            stop.set()


async def eventually(met: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until *met* is true; `TimeoutError` after *seconds*."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - what is waited for happens in other processes and threads too
            await asyncio.sleep(0.01)


async def settled(
    jobs: JobQueue, job_id: int, wanted: Callable[[JobRecord], object], seconds: float = 60.0
) -> JobRecord:
    """Return the view of a job once it is as *wanted*; `TimeoutError` after *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            view = await seen(jobs, job_id)
            if wanted(view):
                return view
            await asyncio.sleep(0.02)


async def seen(jobs: JobQueue, job_id: int) -> JobRecord:
    """Return a job as it is now."""
    found = await jobs.show(job_id)
    assert found is not None
    return found[0]


async def queued(jobs: JobQueue, request: CopyRequest) -> int:
    """Queue a copy that was not requested before."""
    job_id = await jobs.request_copy(request)
    assert job_id is not None
    return job_id


def wanted(name: str = "app:1", *, source: str = "src.example", target: str = "dst.example") -> CopyRequest:
    """Return a request for a copy of *name* from one registry to another."""
    return CopyRequest(Reference.parse(f"{source}/{name}"), Reference.parse(f"{target}/{name}"))


def busy() -> RateLimited:
    """Return a retryable failure."""
    return RateLimited("dst.example/app: asked to slow down")
