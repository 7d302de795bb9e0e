"""The durable queue: a request stays in a database until its job is done, across crashes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from procrastinate.connector import BaseAsyncConnector
from procrastinate.exceptions import UniqueViolation

from image_syncer.errors import UsageError
from image_syncer.jobs.attempts import AttemptRunner, Handlers
from image_syncer.jobs.errors import NoJobs, translated_errors
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.lock_file import worker_lock
from image_syncer.jobs.log_bridge import library_logs_forwarded
from image_syncer.jobs.payloads import CopyRequest, copy_lock, rule_job, rule_lock
from image_syncer.jobs.postgresql import postgres_connector, prepare
from image_syncer.jobs.queries import QUERIES
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.jobs.views import STEP_LIMIT, JobFilter, JobRecord, JobStatus, JobStep, Replay, counts
from image_syncer.jobs.worker import WorkerOptions, WorkerSupervisor
from image_syncer.state import Trigger
from image_syncer.state.database_url import SqliteFile, parse_database_url

_CONCURRENT_REQUESTS: Final = 4


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class JobStoreOptions:
    """Options of the job store; times in seconds.

    *connections* bounds the connections to PostgreSQL. *busy* bounds the wait for one of them, or for another process
    that writes to the SQLite file. *patience* bounds the wait for a failed store at the end of an attempt. Without
    *make* a missing store is not created. *now* returns the aware time.
    """

    connections: int = 8
    busy: float = 5.0
    patience: float = 300.0
    make: bool = True
    now: Callable[[], datetime] = _utc_now


class JobQueue:
    """The queue: requests, views and workers. Opened by `open_jobs`.

    Every method except `run_worker` raises `JobsUnavailable` if the store cannot be reached now. The request may then
    have been accepted or not, and repeating it is safe.
    """

    def __init__(self, manager: FencedJobManager, place: str, file: Path | None, now: Callable[[], datetime]) -> None:
        self._manager = manager
        self._now = now
        self._place = place
        self._file = file
        self._supervisor: WorkerSupervisor | None = None

    @property
    def is_worker_alive(self) -> bool:
        """Whether a worker of this process is registered and fetches jobs."""
        return self._supervisor is not None and self._supervisor.is_alive

    async def request_copy(self, request: CopyRequest) -> int | None:
        """Queue one copy and return the id of its job; None if it was merged into a queued job for the same copy.

        It is not merged into a running job, which may have read the source before the push. A merged job has the newer
        digest and the higher priority.
        """
        with translated_errors(self._place):
            return await self._manager.enqueue(request.to_job(self._now()))

    async def request_copies(self, requests: Iterable[CopyRequest]) -> list[int | None]:
        """Queue each of *requests* as `request_copy` does, and return the ids in their order.

        After `JobsUnavailable` some of them may be queued; repeating all of them is safe.
        """
        wanted = list(requests)
        ids: list[int | None] = [None] * len(wanted)
        remaining = iter(enumerate(wanted))

        async def enqueue_some() -> None:
            for index, request in remaining:
                ids[index] = await self._manager.enqueue(request.to_job(self._now()))

        with translated_errors(self._place):
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(_CONCURRENT_REQUESTS):
                        group.create_task(enqueue_some())
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return ids

    async def request_rule(
        self,
        rule: str,
        *,
        priority: int = 0,
        not_before: datetime | None = None,
        trigger: Trigger = Trigger.SCHEDULE,
    ) -> int | None:
        """Queue a run of *rule* and return the id of its job; None if one is queued already.

        *trigger* is recorded with the run. A queued job has the trigger "request" as soon as one request has it.
        """
        with translated_errors(self._place):
            return await self._manager.enqueue(rule_job(rule, priority, not_before, trigger, self._now()))

    async def filter_open_copies(self, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the (source, target) *pairs* with a queued or running job."""
        by_lock = {copy_lock(*pair): pair for pair in pairs}
        return {by_lock[lock] for lock in await self._open_locks(by_lock)}

    async def filter_open_rules(self, names: Iterable[str]) -> set[str]:
        """Return the rules of *names* with a queued or running job."""
        by_lock = {rule_lock(name): name for name in names}
        return {by_lock[lock] for lock in await self._open_locks(by_lock)}

    async def _open_locks(self, locks: Iterable[str]) -> list[str]:
        with translated_errors(self._place):
            rows = await self._manager.connector.execute_query_all_async(QUERIES["open_locks"], locks=list(locks))
        return [row["queueing_lock"] for row in rows]

    async def set_limits(self, limits: Mapping[str, int]) -> None:
        """Set the fleet-wide number of concurrent copies per registry, which count as source and as target.

        Replaces all limits; a registry without one is unlimited. Running copies go on. Limits are independent of the
        locks, so two copies to one target never run at once.
        """
        if any(limit < 1 for limit in limits.values()):
            raise UsageError("jobs: a limit must be at least 1")
        with translated_errors(self._place):
            await self._manager.connector.execute_query_async(
                QUERIES["replace_limits"], registries=list(limits), running=list(limits.values())
            )

    async def list(self, wanted: JobFilter | None = None) -> Sequence[JobRecord]:
        """Return the matching jobs, newest first."""
        with translated_errors(self._place):
            rows = await self._manager.connector.execute_query_all_async(
                QUERIES["view_jobs"], **(wanted or JobFilter()).to_arguments()
            )
        return [JobRecord.of(row) for row in rows]

    async def show(self, job_id: int) -> tuple[JobRecord, Sequence[JobStep]] | None:
        """Return one job and its latest steps (at most 200), oldest first; None if it does not exist."""
        with translated_errors(self._place):
            rows = await self._manager.connector.execute_query_all_async(
                QUERIES["view_jobs"], **{**JobFilter(limit=1).to_arguments(), "job_id": job_id}
            )
            steps = await self._manager.connector.execute_query_all_async(
                QUERIES["view_steps"], job_id=job_id, limit=STEP_LIMIT
            )
        return (JobRecord.of(rows[0]), [JobStep(**step) for step in reversed(steps)]) if rows else None

    async def counts(self) -> Mapping[JobStatus, int]:
        """Return the number of jobs by status; fails if the store does not answer."""
        with translated_errors(self._place):
            return counts(await self._manager.connector.execute_query_all_async(QUERIES["count_jobs"]))

    async def retry(self, job_id: int) -> Replay:
        """Run a job again that ended without success, with all attempts; a queued one starts now."""
        with translated_errors(self._place):
            try:
                rows = await self._manager.connector.execute_query_all_async(QUERIES["replay_job"], job_id=job_id)
            except UniqueViolation:
                return Replay.MERGED
        return Replay.QUEUED if rows else Replay.REFUSED

    async def cancel(self, job_id: int) -> bool:
        """Cancel a queued job; False if it is not queued."""
        with translated_errors(self._place):
            return await self._manager.cancel_job_by_id_async(job_id)

    async def abort(self, job_id: int) -> bool:
        """Cancel a queued job or abort a running one within about a second; False if it has ended."""
        with translated_errors(self._place):
            return await self._manager.cancel_job_by_id_async(job_id, abort=True)

    async def run_worker(
        self, handlers: Handlers, options: WorkerOptions | None = None, *, stop: asyncio.Event, rng: Random
    ) -> None:
        """Run jobs until *stop* is set or until cancelled, then drain; outages of the store do not end it.

        A job that does not end within the drain's deadline is queued again. The SQLite file has one worker at a time:
        this one starts when no other process works.
        """
        chosen = options or WorkerOptions()
        runner = AttemptRunner(self._manager, handlers, chosen, rng=rng, now=self._now)
        supervisor = WorkerSupervisor(runner.app(), self._manager, chosen)
        if self._file is None:
            await self._supervised(supervisor, stop)
            return
        async with worker_lock(self._file, stop) as is_only_worker:
            if not is_only_worker:
                return
            with translated_errors(self._place):
                await supervisor.sweep()
            await self._supervised(supervisor, stop)

    async def _supervised(self, supervisor: WorkerSupervisor, stop: asyncio.Event) -> None:
        self._supervisor = supervisor
        try:
            await supervisor.run(stop)
        finally:
            self._supervisor = None


@asynccontextmanager
async def open_jobs(url: str, options: JobStoreOptions | None = None) -> AsyncGenerator[JobQueue]:
    """Open the queue at *url*: `sqlite:////absolute/path`, `sqlite:///relative/path`, a path, or `postgresql://...`.

    Creates a missing queue, or raises `NoJobs` if the options forbid that. `JobsUnavailable` for a temporary failure,
    `UsageError` for a permanent one.
    """
    chosen = options or JobStoreOptions()
    location = parse_database_url(url)
    connector: BaseAsyncConnector
    if isinstance(location, SqliteFile):
        name, file = f"jobs {location.path}", location.path
        if not chosen.make:
            _check_exists(file, name)
        connector = SqliteConnector(location.path, patience=chosen.busy)
    else:
        name, file = f"jobs {location.name}", None
        connector = postgres_connector(location.conninfo, chosen.connections, chosen.busy)
    with library_logs_forwarded():
        try:
            with translated_errors(name):
                if not isinstance(location, SqliteFile):
                    await prepare(location.conninfo, name, make=chosen.make)
                await connector.open_async()
            yield JobQueue(FencedJobManager(connector, patience=chosen.patience), name, file, chosen.now)
        finally:
            await connector.close_async()


def _check_exists(file: Path, name: str) -> None:
    """Raise `NoJobs` if *file* does not exist or is empty: another process is creating an empty one."""
    try:
        if file.stat().st_size == 0:
            raise NoJobs(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoJobs(name) from error
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}", remedy="check its permissions") from error
