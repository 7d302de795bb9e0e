"""What operators see of jobs: frozen, typed, without any secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from image_syncer.jobs.payloads import text_arguments

LIST_LIMIT: Final = 1000
STEP_LIMIT: Final = 200


class JobStatus(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"  # for its turn, its target, a limit, or its next try
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # a dead letter: nothing will happen unless somebody replays it
    CANCELLED = "cancelled"  # by an operator; the job's steps say whether it ran
    SUPERSEDED = "superseded"  # it failed while its successor was waiting, so it was not tried again


_WORDS: Final[Mapping[str, JobStatus]] = {
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

    *before* continues a listing behind the id that the page before ended with. *lock* is that of a `JobRecord`, *rule*
    who wants it.
    """

    statuses: frozenset[JobStatus] | None = None
    kind: str | None = None
    lock: str | None = None
    rule: str | None = None
    before: int | None = None
    limit: int = 100

    def to_arguments(self) -> Mapping[str, Any]:
        """Return the arguments of the query `view_jobs`."""
        wanted = self.statuses
        return {
            "job_id": None,
            "before": self.before,
            "kind": self.kind,
            "lock": self.lock,
            "rule": self.rule,
            "statuses": None if wanted is None else [word for word, status in _WORDS.items() if status in wanted],
            "limit": max(1, min(self.limit, LIST_LIMIT)),
        }


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as it stands. Instants are aware.

    *attempts* are the tries that have ended and count; *next_at* is the earliest start of a waiting job (None: at once,
    or it does not wait); *last_error* is that of the last try that failed, also after a later success; *stopping* says
    that an abort was asked for.
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
        """Return the view of a row of the query `view_jobs`."""
        status = _WORDS[row["status"]]
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
    """One step in the life of a job, in Procrastinate's words: deferred, started, deferred_for_retry, failed, ..."""

    what: str
    happened_at: datetime


class Replay(StrEnum):
    """What became of the wish to run a job again."""

    QUEUED = "queued"  # it waits and is due now
    MERGED = "merged"  # another job for the same waits already, so nothing was needed
    REFUSED = "refused"  # there is no such job, or it runs or has succeeded


def counts(rows: list[dict[str, Any]]) -> Mapping[JobStatus, int]:
    """Return how many jobs stand where, from the rows of the query `count_jobs`; every status has a figure."""
    found = dict.fromkeys(JobStatus, 0)
    for row in rows:
        found[_WORDS[row["status"]]] += int(row["count"])
    return found
