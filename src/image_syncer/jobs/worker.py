"""A supervised worker: restarts after failures, takes over jobs of dead workers, and drains at the stop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from procrastinate import App
from procrastinate.exceptions import ConnectorException, ProcrastinateException
from procrastinate.jobs import Job
from procrastinate.worker import Worker

from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.payloads import JobKind
from image_syncer.jobs.retry_strategy import JobRetryPolicy
from image_syncer.state import StateUnavailable

_PAUSE: Final = 1.0  # seconds before a failed worker is restarted
_LAST_WRITES: Final = 5.0  # seconds for writing the ends of interrupted jobs
_ALL_TIME_SECONDS: Final = 1_000_000_000  # an int, as Procrastinate's function takes it
_RETENTION_SECONDS: Final = 300.0  # Short, since SQLite deletes a bounded number of jobs each time.


async def _clock() -> datetime | None:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options of a worker; times in seconds.

    It runs up to *concurrency* jobs and polls every *poll*; requests of this process, on PostgreSQL of any process,
    wake it at once. At the stop, running jobs have *drain* to end, and the rest is queued again. A worker without a
    heartbeat for *stalled* is declared dead; its jobs are taken over within a third of that more. A worker's death
    counts as an attempt for all its jobs, and makes a job a dead letter at attempt number *deaths* at the earliest.
    *longest* is the timeout of an attempt. Retention: *keep_hours* for succeeded and cancelled jobs,
    *keep_failed_hours* for dead letters, by *trusted_now*, the time that is certainly not ahead (None: unknown, so no
    job is deleted).
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
    trusted_now: Callable[[], Awaitable[datetime | None]] = _clock


class WorkerSupervisor:
    """Keeps one worker of *app* running until the stop."""

    def __init__(self, app: App, manager: FencedJobManager, options: WorkerOptions) -> None:
        self._app = app
        self._manager = manager
        self._options = options
        self._worker: Worker | None = None
        self._log: Any = structlog.get_logger()

    @property
    def is_alive(self) -> bool:
        """Whether the worker is registered and fetches jobs."""
        return self._worker is not None and self._worker.worker_id is not None

    async def sweep(self) -> None:
        """Queue all running jobs again. Only under the worker lock, which proves that their worker has ended."""
        # Heartbeats that a wrong clock set in the future included.
        await self._manager.prune_stalled_workers(-_ALL_TIME_SECONDS)
        await self._take_over(-_ALL_TIME_SECONDS)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop* is set or until cancelled, then drain."""
        async with asyncio.TaskGroup() as group:
            maintenance = [
                group.create_task(self._repeat(self._reap, self._options.stalled / 3), name="jobs: reaper"),
                group.create_task(self._repeat(self._prune, _RETENTION_SECONDS), name="jobs: retention"),
            ]
            while not stop.is_set():
                await self._one_worker(group, stop)
                await _within(stop.wait(), _PAUSE)
            for task in maintenance:
                task.cancel()

    async def _one_worker(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Run one worker until it fails, must register again, or *stop* is set."""
        self._manager.gave_up.clear()
        self._worker = worker = self._new_worker()
        running = group.create_task(self._until_it_ends(worker), name="jobs: worker")
        signals = [group.create_task(event.wait()) for event in (stop, self._manager.gave_up)]
        try:
            await asyncio.wait({running, *signals}, return_when=asyncio.FIRST_COMPLETED)
            worker.stop()
            await self._drain(running)
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

    async def _drain(self, running: asyncio.Task[None]) -> None:
        """Wait for *running* until the drain's deadline, then cancel it; jobs that remain are taken over."""
        await asyncio.wait({running}, timeout=self._options.drain + _LAST_WRITES)
        for _ in range(3):
            if running.done():
                return
            running.cancel()  # Procrastinate takes the first cancellation as a stop request; the next ends it.
            await asyncio.wait({running}, timeout=_PAUSE)
        self._log.error("worker.did_not_end")

    async def _repeat(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do *work* every *seconds*. After an outage it waits, so that all workers can send a heartbeat first."""
        while True:
            try:
                await work()
            except (ConnectorException, StateUnavailable) as error:
                self._log.warning("jobs.upkeep_failed", error=str(error.__cause__ or error)[:200])
                await asyncio.sleep(self._options.stalled)
            await asyncio.sleep(seconds)

    async def _reap(self) -> None:
        for job_id in await self._manager.repair_times(self._options.retry.longest_pause):
            self._log.warning("job.time_repaired", job_id=job_id, reason="its time was set by a wrong clock")
        await self._manager.prune_stalled_workers(self._options.stalled)
        await self._take_over(self._options.stalled)

    async def _take_over(self, silent: float) -> None:
        for job in await self._manager.get_stalled_jobs(seconds_since_heartbeat=silent):
            await self._take_over_one(job)

    async def _take_over_one(self, job: Job) -> None:
        last = job.attempts + 1 >= max(self._options.deaths, self._options.retry.attempts)
        self._log.warning("job.taken_over", job_id=job.id, attempt=job.attempts + 1, last=last)
        error = "the worker ended during the attempt"
        await self._manager.take_over(job, status="failed" if last else "todo", error=error, counted=True)

    async def _prune(self) -> None:
        now = await self._options.trusted_now()
        if now is None:
            return
        for hours, statuses in (
            (self._options.keep_hours, ("succeeded", "cancelled", "aborted")),
            (self._options.keep_failed_hours, ("failed",)),
        ):
            await self._manager.delete_ended_jobs(statuses, before=now - timedelta(hours=hours))


async def _within(waiting: Awaitable[Any], seconds: float) -> None:
    """Wait for *waiting* for at most *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
