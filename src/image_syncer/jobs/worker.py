"""A supervised worker: it comes back after trouble, takes over from dead ones, and drains when it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from procrastinate import App
from procrastinate.exceptions import ConnectorException, ProcrastinateException
from procrastinate.jobs import Job
from procrastinate.worker import Worker

from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.payloads import JobKind
from image_syncer.jobs.retry_strategy import JobRetryPolicy

_PAUSE: Final = 1.0  # seconds before a worker that stopped by itself is started again
_LAST_WRITES: Final = 5.0  # seconds that the ends of interrupted jobs have to reach the store
_TIDY_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works; all times in seconds.

    It runs up to *concurrency* jobs at once and looks for new ones at least every *poll* (what this process or, on
    PostgreSQL, any other asks for wakes it at once). When it stops, running jobs have *drain* to end; what still runs
    then goes back into the queue. A worker that was silent for *stalled* is taken for dead, and its jobs go to others
    within a third of that more. The death of a worker makes a job a dead letter at its try number *deaths* at the
    earliest: it is counted for all that ran there, whoever's fault it was. A try takes at most *longest*. Jobs that
    went well, or that somebody ended, are forgotten after *keep_hours*, dead letters after *keep_failed_hours*.
    """

    concurrency: int = 16
    poll: float = 1.0
    drain: float = 30.0
    stalled: float = 15.0
    deaths: int = 20
    longest: float = 24 * 3600.0
    keep_hours: int = 7 * 24
    keep_failed_hours: int = 30 * 24
    retry: JobRetryPolicy = field(default_factory=JobRetryPolicy)


class WorkerSupervisor:
    """Keeps one worker of *app* at work until told to stop. *alive* says whether it is at work now."""

    def __init__(self, app: App, keeper: FencedJobManager, options: WorkerOptions) -> None:
        self._app = app
        self._keeper = keeper
        self._options = options
        self._worker: Worker | None = None
        self._log: Any = structlog.get_logger()

    @property
    def is_alive(self) -> bool:
        """Whether the worker is registered and takes jobs."""
        return self._worker is not None and self._worker.worker_id is not None

    async def sweep(self) -> None:
        """Give back all that is `doing`: only under the lock that says that whoever did it is no more."""
        await self._keeper.prune_stalled_workers(-1)
        await self._take_over(0)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop* is set, then drain. A cancellation drains as well, before it goes on its way."""
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._repeat(self._reap, self._options.stalled / 3), name="jobs: reaper"),
                group.create_task(self._repeat(self._tidy, _TIDY_SECONDS), name="jobs: tidying"),
            ]
            while not stop.is_set():
                await self._one_worker(group, stop)
                await _within(stop.wait(), _PAUSE)
            for helper in helpers:
                helper.cancel()

    async def _one_worker(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Run one worker until it ends by itself, must register anew, or is told to stop."""
        self._keeper.gave_up.clear()
        self._worker = worker = self._new_worker()
        running = group.create_task(self._until_it_ends(worker), name="jobs: worker")
        signals = [group.create_task(event.wait()) for event in (stop, self._keeper.gave_up)]
        try:
            await asyncio.wait({running, *signals}, return_when=asyncio.FIRST_COMPLETED)
            worker.stop()
            await self._drained(running)
        finally:
            self._worker = None
            for signal in signals:
                signal.cancel()

    def _new_worker(self) -> Worker:
        options = self._options
        return Worker(
            self._app,
            queues=[kind.queue for kind in JobKind],
            concurrency=options.concurrency,
            fetch_job_polling_interval=options.poll,
            abort_job_polling_interval=options.poll,
            shutdown_graceful_timeout=options.drain,
            install_signal_handlers=False,
            update_heartbeat_interval=options.stalled / 3,
            stalled_worker_timeout=options.stalled,
        )

    async def _until_it_ends(self, worker: Worker) -> None:
        try:
            await worker.run()
        except (ProcrastinateException, OSError) as error:
            self._log.warning("worker.stopped", error=type(error).__name__)

    async def _drained(self, running: asyncio.Task[None]) -> None:
        """Wait for *running* within the drain's deadline; its jobs are taken over if even that does not end it."""
        await asyncio.wait({running}, timeout=self._options.drain + _LAST_WRITES)
        for _ in range(3):
            if running.done():
                return
            running.cancel()  # The first is taken as one more wish to stop, the next ends the wait.
            await asyncio.wait({running}, timeout=_PAUSE)
        self._log.error("worker.did_not_end")

    async def _repeat(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do *work* every *seconds*. After an outage everybody gets time for a sign of life before one is reaped."""
        while True:
            try:
                await work()
            except ConnectorException as error:
                self._log.warning("jobs.upkeep_failed", error=str(error.__cause__ or error)[:200])
                await asyncio.sleep(self._options.stalled)
            await asyncio.sleep(seconds)

    async def _reap(self) -> None:
        await self._keeper.prune_stalled_workers(self._options.stalled)
        await self._take_over(self._options.stalled)

    async def _take_over(self, silent: float) -> None:
        for job in await self._keeper.get_stalled_jobs(seconds_since_heartbeat=silent):
            await self._take_over_one(job)

    async def _take_over_one(self, job: Job) -> None:
        last = job.attempts + 1 >= max(self._options.deaths, self._options.retry.attempts)
        self._log.warning("job.taken_over", job_id=job.id, attempt=job.attempts + 1, last=last)
        error = "the worker ended in the middle of it"
        await self._keeper.take_over(job, status="failed" if last else "todo", error=error, counted=True)

    async def _tidy(self) -> None:
        await self._keeper.delete_old_jobs(self._options.keep_hours, include_cancelled=True, include_aborted=True)
        await self._keeper.delete_old_jobs(self._options.keep_failed_hours, include_failed=True)


async def _within(waiting: Awaitable[Any], seconds: float) -> None:
    """Wait for *waiting*, at most *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
