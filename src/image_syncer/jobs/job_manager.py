"""Procrastinate's job manager with fenced settlement, fleet limits and tolerance of outages."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback

from image_syncer.jobs.lease import Lease
from image_syncer.jobs.payloads import renewed
from image_syncer.jobs.queries import QUERIES
from image_syncer.state.event_log import CLOCK_SKEW

_PAUSE: Final = 0.5  # seconds between two attempts to reach the store
_JOIN_ATTEMPTS: Final = 5

_OLDEST_EVERY: Final = 4
_MOST_DELETED: Final = 5000
_REPAIR_PRIORITY: Final = 3  # before pushes (1 and 2) and rules (0)

_AttemptKey = tuple[int | None, int, int | None]

Ended = Literal["todo", "succeeded", "failed", "aborted"]


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """The end of an attempt besides its status: the *error* to show (None: keep the last) and whether it counts."""

    error: str | None = None
    counted: bool = True


class FencedJobManager(JobManager):
    """Writes jobs, for Procrastinate's worker and for our own code.

    * A retry whose successor is queued already ends the job as superseded (procrastinate #1446, #1543).
    * Fencing: a worker that was declared dead and wakes up again cannot end the attempt of its successor.
    * A write that was permitted under a lease that is lost now may have replaced a newer image: the copy is queued
      again at once. A freeze between the check and the write cannot be prevented, so it is repaired.
    * An abort is final, even if the worker stops or dies before it notices.
    * An outage of the store ends neither listening nor heartbeat. Settling an attempt is retried for *patience*
      seconds; then `gave_up` is set, since the job stays `doing` until this worker registers again.
    """

    def __init__(self, connector: BaseConnector, *, patience: float) -> None:
        super().__init__(connector)
        self.gave_up: Final = asyncio.Event()
        self._patience = patience
        self._endings: dict[int, AttemptEnd] = {}
        self._fetches = 0
        self._leases: dict[_AttemptKey, Lease] = {}
        self._repairs: list[Job] = []  # that could not be queued while the store did not answer
        self._log: Any = structlog.get_logger()

    async def enqueue(self, job: Job) -> int | None:
        """Queue *job* and return its id; None if it was merged into a queued job with the same queueing lock.

        A queued job starts later than this request, so it fulfils the request, with the newer arguments.
        """
        for _ in range(_JOIN_ATTEMPTS):
            try:
                return (await self.defer_job_async(job)).id
            except AlreadyEnqueued:
                if await self._join(job):
                    return None  # Otherwise the queued job has just started, and another one is needed.
        return None

    def remember(self, job_id: int, ending: AttemptEnd) -> None:
        """Keep *ending* of the running attempt of *job_id* until its status is written."""
        self._endings[job_id] = ending

    def lease(self, job: Job, seconds: float) -> Lease:
        """Return the lease of the attempt that *job* begins, kept until its end is written."""
        lease = self._leases[_attempt_key(job)] = Lease(self.connector, job, seconds=seconds)
        return lease

    async def take_over(self, job: Job, *, status: Ended, error: str | None, counted: bool) -> None:
        """End the attempt of a dead worker; does nothing if another process has done so."""
        self.remember(job.id or 0, AttemptEnd(error, counted))
        await self._settle(job, status, None)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Return the next job that may run, now `doing`; None if there is none or the store is unreachable."""
        try:
            rows = await self.connector.execute_query_all_async(
                QUERIES["fetch_allowed_job"],
                queues=None if queues is None else list(queues),
                worker_id=worker_id,
                oldest=self._takes_oldest(),
            )
        except ConnectorException as error:
            self._log.warning("jobs.fetch_failed", error=_reason(error))
            return None
        # PostgreSQL's function returns a row of NULLs if it finds no job.
        return Job.from_row(rows[0]) if rows and rows[0]["id"] is not None else None

    def _takes_oldest(self) -> bool:
        """Whether the next fetch takes the oldest job instead of the most urgent one: every fourth, so none starves."""
        self._fetches += 1
        return self._fetches % _OLDEST_EVERY == 0

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,  # noqa: ARG002 - Procrastinate's signature; our strategy never sets it
        queue: str | None = None,  # noqa: ARG002 - the same
        lock: str | None = None,  # noqa: ARG002 - the same: the lock is the target's and never changes
    ) -> None:
        """Queue *job* again, to run at *retry_at* at the earliest (None: at once)."""
        await self._settle(job, "todo", retry_at, self._repair(job))

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: ARG002, FBT001 - Procrastinate's signature; ended jobs are kept
        """End *job* for good."""
        ended: Mapping[Status, Ended] = {Status.SUCCEEDED: "succeeded", Status.ABORTED: "aborted"}
        await self._settle(job, ended.get(status, "failed"), None, self._repair(job))

    async def update_heartbeat(self, worker_id: int) -> None:
        """Record the heartbeat, even if this worker was declared dead; after an outage the next one does."""
        try:
            await self.connector.execute_query_async(QUERIES["keep_heartbeat"], worker_id=worker_id)
            while self._repairs:
                await self.enqueue(self._repairs[-1])
                self._repairs.pop()
        except ConnectorException as error:
            self._log.warning("jobs.heartbeat_failed", error=_reason(error))

    async def repair_times(self, longest: float) -> list[int]:
        """Let jobs start now whose pause is longer than *longest* seconds, and return their ids.

        Such a time was set while a clock was wrong. Heartbeats and requests of the future get the present time.
        """
        rows = await self.connector.execute_query_all_async(
            QUERIES["repair_times"], longest=longest, skew=CLOCK_SKEW.total_seconds()
        )
        return [row["id"] for row in rows]

    async def delete_ended_jobs(self, statuses: Sequence[str], *, before: datetime) -> None:
        """Delete jobs of each one of *statuses* that last changed before *before*, of those with the lowest ids.

        At most 5 000 of each, so the transaction is short with a million jobs; the next call deletes more. The clock of
        the store is not asked, since it may be ahead.
        """
        await self.connector.execute_query_async(
            QUERIES["delete_ended_jobs"], statuses=list(statuses), before=before, most=_MOST_DELETED
        )

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen until cancelled, across outages."""
        names = None if queues is None else list(queues)
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=names)
            except ConnectorException as error:
                self._log.warning("jobs.listening_failed", error=_reason(error))
            await asyncio.sleep(_PAUSE)

    async def _join(self, job: Job) -> bool:
        rows = await self.connector.execute_query_all_async(
            QUERIES["join_job"],
            queueing_lock=job.queueing_lock,
            args=job.task_kwargs,
            priority=job.priority,
            scheduled_at=job.scheduled_at,
        )
        return bool(rows)

    def _repair(self, job: Job) -> Job | None:
        """Return the job to queue if the attempt that ends turns out to have lost *job*; None if it wrote nothing."""
        lease = self._leases.pop(_attempt_key(job), None)
        if lease is None or not lease.has_permitted:
            return None
        return renewed(job, _REPAIR_PRIORITY, datetime.now(UTC))

    async def _settle(self, job: Job, status: Ended, retry_at: datetime | None, repair: Job | None = None) -> None:
        """Write the end of an attempt; retry failures of the store until the patience is over."""
        ending = self._endings.pop(job.id or 0, AttemptEnd())
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return await self._settle_once(job, status, retry_at, ending, repair)
            except ConnectorException as error:
                if time.monotonic() > deadline:
                    if repair is not None:
                        self._repairs.append(repair)
                    self.gave_up.set()
                    raise
                self._log.warning("job.end_not_written", job_id=job.id, status=status, error=_reason(error))
            await asyncio.sleep(_PAUSE)

    async def _settle_once(
        self, job: Job, status: Ended, retry_at: datetime | None, ending: AttemptEnd, repair: Job | None
    ) -> None:
        try:
            found = await self._write(job, status, retry_at, ending)
        except UniqueViolation:
            found = await self._write(job, "superseded", None, ending)
        if not found:
            # Either an earlier write succeeded without an answer, or another worker has the job by now.
            self._log.warning("job.not_ours", job_id=job.id, status=status)
            if repair is not None:
                self._log.warning("job.late_write", job_id=job.id, remedy="the copy is made again now")
                await self.enqueue(repair)

    async def _write(
        self, job: Job, status: Ended | Literal["superseded"], retry_at: datetime | None, ending: AttemptEnd
    ) -> bool:
        rows = await self.connector.execute_query_all_async(
            QUERIES["settle_job"],
            job_id=job.id,
            status="failed" if status == "superseded" else status,
            superseded=status == "superseded",
            counted=int(ending.counted),
            retry_at=retry_at,
            worker_id=job.worker_id,
            attempts=job.attempts,
            error=ending.error,
        )
        return bool(rows)


def _reason(error: ConnectorException) -> str:
    return (str(error.__cause__ or error).splitlines() or ["no reason given"])[0][:200]


def _attempt_key(job: Job) -> _AttemptKey:
    """Return what tells an attempt from that of a successor, which has another worker or number."""
    return job.id, job.attempts, job.worker_id
