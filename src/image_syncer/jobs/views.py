"""Jobs as shown to operators, without secrets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from image_syncer.jobs.payloads import text_arguments

LIST_LIMIT: Final = 1000
STEP_LIMIT: Final = 200


class JobStatus(StrEnum):
    """The status of a job."""

    WAITING = "waiting"  # for its turn, its target, a limit, or its next attempt
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # a dead letter, until an operator retries it
    CANCELLED = "cancelled"  # by an operator; the job's steps say whether it ran
    SUPERSEDED = "superseded"  # it failed while its successor was queued, so it is not retried


_STATUSES: Final[Mapping[str, JobStatus]] = {
    "todo": JobStatus.WAITING,
    "doing": JobStatus.RUNNING,
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "superseded": JobStatus.SUPERSEDED,
    "cancelled": JobStatus.CANCELLED,
    "aborted": JobStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list: the newest *limit* (at most 1 000) that match; None matches all.

    *before* is the last id of the last page. *lock* is that of a `JobRecord`, *rule* the requesting rule.
    """

    statuses: frozenset[JobStatus] | None = None
    kind: str | None = None
    lock: str | None = None
    rule: str | None = None
    before: int | None = None
    limit: int = 100

    def to_arguments(self) -> Mapping[str, Any]:
        """Return the arguments of the query `view_jobs`."""
        statuses = self.statuses
        return {
            "job_id": None,
            "before": self.before,
            "kind": self.kind,
            "lock": self.lock,
            "rule": self.rule,
            "statuses": None
            if statuses is None
            else [name for name, status in _STATUSES.items() if status in statuses],
            "limit": max(1, min(self.limit, LIST_LIMIT)),
        }


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. Instants are aware.

    *attempts* is the number of ended attempts that count. *next_at* is the earliest start of a queued job (None: now,
    or it is not queued). *last_error* is that of the last failed attempt, even after a success. *stopping*: an abort
    was requested.
    """

    id: int
    kind: str
    status: JobStatus
    priority: int
    attempts: int
    lock: str | None
    args: Mapping[str, str]
    created_at: datetime
    changed_at: datetime
    next_at: datetime | None
    last_error: str | None
    worker: int | None
    stopping: bool

    @property
    def finished_at(self) -> datetime | None:
        """When the job ended; None while it waits or runs."""
        return None if self.status in {JobStatus.WAITING, JobStatus.RUNNING} else self.changed_at

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "JobRecord":
        """Return the job in a row of the query `view_jobs`."""
        status = _STATUSES[row["status"]]
        return cls(
            id=row["id"],
            kind=row["task_name"],
            status=status,
            priority=row["priority"],
            attempts=row["attempts"],
            lock=row["lock"],
            args=text_arguments(row["args"]),
            created_at=row["created_at"],
            changed_at=row["changed_at"],
            next_at=row["scheduled_at"] if status is JobStatus.WAITING else None,
            last_error=row["error"],
            worker=row["worker_id"],
            stopping=status is JobStatus.RUNNING and bool(row["abort_requested"]),
        )


@dataclass(frozen=True, slots=True)
class JobStep:
    """One step of a job in Procrastinate's terms: deferred, started, deferred_for_retry, failed, ..."""

    what: str
    happened_at: datetime


class Replay(StrEnum):
    """The result of retrying a job."""

    QUEUED = "queued"  # it is queued and due now
    MERGED = "merged"  # another job for the same is queued already
    REFUSED = "refused"  # it does not exist, runs, or has succeeded


def counts(rows: list[dict[str, Any]]) -> Mapping[JobStatus, int]:
    """Return the number of jobs for every status, from the rows of the query `count_jobs`."""
    found = dict.fromkeys(JobStatus, 0)
    for row in rows:
        found[_STATUSES[row["status"]]] += int(row["count"])
    return found
