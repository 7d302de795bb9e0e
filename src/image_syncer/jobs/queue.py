"""The durable queue: what is asked for is kept in a database until it is done, whoever dies meanwhile."""

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

_AT_ONCE: Final = 4  # requests of a batch on their way together


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class JobStoreOptions:
    """How the store of jobs is reached.

    *connections* bounds those to PostgreSQL. *busy* is how many seconds a query waits for one of them, or for what
    another process does with the SQLite file. The end of a try waits up to *patience* seconds for a store that is down.
    Without *make* nothing is created: who only looks leaves no traces. *now* is the time (aware).
    """

    connections: int = 8
    busy: float = 5.0
    patience: float = 300.0
    make: bool = True
    now: Callable[[], datetime] = _utc_now


class JobQueue:
    """The queue, for those who ask, those who look and those who work. Made by `open_jobs`.

    Every method but `run_worker` raises `JobsUnavailable` where the store cannot be reached now; then nothing was
    accepted for certain, and asking again is safe.
    """

    def __init__(self, keeper: FencedJobManager, place: str, file: Path | None, now: Callable[[], datetime]) -> None:
        self._keeper = keeper
        self._now = now
        self._place = place
        self._file = file
        self._supervisor: WorkerSupervisor | None = None

    @property
    def is_worker_alive(self) -> bool:
        """Whether a worker of this process is registered and takes jobs."""
        return self._supervisor is not None and self._supervisor.is_alive

    async def request_copy(self, request: CopyRequest) -> int | None:
        """Queue one copy and return the id of its job; None where it joined a job for the same that waits.

        A copy that runs already may have read the source before the push, so it is not joined: one more is queued. The
        job that was joined has the newer digest and the higher of both priorities.
        """
        with translated_errors(self._place):
            return await self._keeper.enqueue(request.to_job(self._now()))

    async def request_copies(self, requests: Iterable[CopyRequest]) -> list[int | None]:
        """Queue many copies, each by itself, and return what `request_copy` would, in their order.

        After `JobsUnavailable` any part of them may have been queued; asking for all of them again is safe.
        """
        wanted = list(requests)
        ids: list[int | None] = [None] * len(wanted)
        todo = iter(enumerate(wanted))

        async def some() -> None:
            for index, request in todo:
                ids[index] = await self._keeper.enqueue(request.to_job(self._now()))

        with translated_errors(self._place):
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(_AT_ONCE):
                        group.create_task(some())
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
        """Queue a run of *rule* and return the id of its job; None where one waits already.

        *trigger* is recorded with the run. A job that waits is one by request as soon as any of those who asked is.
        """
        with translated_errors(self._place):
            return await self._keeper.enqueue(rule_job(rule, priority, not_before, trigger, self._now()))

    async def filter_open_copies(self, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the (source, target) *pairs* for which a job waits or runs."""
        by_lock = {copy_lock(*pair): pair for pair in pairs}
        return {by_lock[lock] for lock in await self._open_locks(by_lock)}

    async def filter_open_rules(self, names: Iterable[str]) -> set[str]:
        """Return those of the rules *names* of which a run waits or is made."""
        by_lock = {rule_lock(name): name for name in names}
        return {by_lock[lock] for lock in await self._open_locks(by_lock)}

    async def _open_locks(self, locks: Iterable[str]) -> list[str]:
        with translated_errors(self._place):
            rows = await self._keeper.connector.execute_query_all_async(QUERIES["open_locks"], locks=list(locks))
        return [row["queueing_lock"] for row in rows]

    async def set_limits(self, limits: Mapping[str, int]) -> None:
        """From now on run at most so many copies at once, over the whole fleet, that read from or write to a registry.

        Replaces all limits; a registry without one has none. What runs already goes on. A limit says nothing about
        the locks, so at no time do two copies run to one target.
        """
        if any(limit < 1 for limit in limits.values()):
            raise UsageError("jobs: a limit is at least 1")
        with translated_errors(self._place):
            await self._keeper.connector.execute_query_async(
                QUERIES["replace_limits"], registries=list(limits), running=list(limits.values())
            )

    async def list(self, wanted: JobFilter | None = None) -> Sequence[JobRecord]:
        """Return the jobs that match, newest first."""
        with translated_errors(self._place):
            rows = await self._keeper.connector.execute_query_all_async(
                QUERIES["view_jobs"], **(wanted or JobFilter()).to_arguments()
            )
        return [JobRecord.of(row) for row in rows]

    async def show(self, job_id: int) -> tuple[JobRecord, Sequence[JobStep]] | None:
        """Return one job and its latest steps (at most 200), oldest first; None where there is no such job."""
        with translated_errors(self._place):
            rows = await self._keeper.connector.execute_query_all_async(
                QUERIES["view_jobs"], **{**JobFilter(limit=1).to_arguments(), "job_id": job_id}
            )
            steps = await self._keeper.connector.execute_query_all_async(
                QUERIES["view_steps"], job_id=job_id, limit=STEP_LIMIT
            )
        return (JobRecord.of(rows[0]), [JobStep(**step) for step in reversed(steps)]) if rows else None

    async def counts(self) -> Mapping[JobStatus, int]:
        """Return how many jobs stand where; also the way to find out whether the store answers."""
        with translated_errors(self._place):
            return counts(await self._keeper.connector.execute_query_all_async(QUERIES["count_jobs"]))

    async def retry(self, job_id: int) -> Replay:
        """Run a job again that ended without success, with all its tries before it; or one that waits, now."""
        with translated_errors(self._place):
            try:
                rows = await self._keeper.connector.execute_query_all_async(QUERIES["replay_job"], job_id=job_id)
            except UniqueViolation:
                return Replay.MERGED
        return Replay.QUEUED if rows else Replay.REFUSED

    async def cancel(self, job_id: int) -> bool:
        """End a job that waits; False where it does not wait."""
        with translated_errors(self._place):
            return await self._keeper.cancel_job_by_id_async(job_id)

    async def abort(self, job_id: int) -> bool:
        """End a job that waits or runs, for good; False where it has ended. What runs is told within a second or so."""
        with translated_errors(self._place):
            return await self._keeper.cancel_job_by_id_async(job_id, abort=True)

    async def run_worker(
        self, handlers: Handlers, options: WorkerOptions | None = None, *, stop: asyncio.Event, rng: Random
    ) -> None:
        """Work until *stop* is set, then drain; whatever happens to the store, this goes on.

        Being cancelled drains as well. What could not end within the drain's deadline is back in the queue afterwards.
        The file of the embedded store has one worker at a time: this one begins when no other process works.
        """
        chosen = options or WorkerOptions()
        tries = AttemptRunner(self._keeper, handlers, chosen.retry, longest=chosen.longest, rng=rng, now=self._now)
        supervisor = WorkerSupervisor(tries.app(), self._keeper, chosen)
        if self._file is None:
            await self._supervised(supervisor, stop)
            return
        async with worker_lock(self._file, stop) as alone:
            if not alone:
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

    Makes what is missing there, unless the options say not to: then `NoJobs`. `JobsUnavailable` where it cannot be
    reached now, `UsageError` where it never will.
    """
    chosen = options or JobStoreOptions()
    place = parse_database_url(url)
    connector: BaseAsyncConnector
    if isinstance(place, SqliteFile):
        name, file = f"jobs {place.path}", place.path
        if not chosen.make:
            _check_there(file, name)
        connector = SqliteConnector(place.path, patience=chosen.busy)
    else:
        name, file = f"jobs {place.name}", None
        connector = postgres_connector(place.conninfo, chosen.connections, chosen.busy)
    with library_logs_forwarded():
        try:
            with translated_errors(name):
                if not isinstance(place, SqliteFile):
                    await prepare(place.conninfo, name, make=chosen.make)
                await connector.open_async()
            yield JobQueue(FencedJobManager(connector, patience=chosen.patience), name, file, chosen.now)
        finally:
            await connector.close_async()


def _check_there(file: Path, name: str) -> None:
    """Raise `NoJobs` where nobody has made *file* yet; an empty one is being made at this moment."""
    try:
        if file.stat().st_size == 0:
            raise NoJobs(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoJobs(name) from error
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}", remedy="check its permissions") from error
