"""The durable job queue in a SQLite file or PostgreSQL, and its worker."""

from image_syncer.jobs.attempts import Handlers
from image_syncer.jobs.errors import JobsUnavailable, JobsUnusable, NoJobs
from image_syncer.jobs.payloads import CopyJob, CopyRequest, JobKind, RuleJob, stored_reference, target_lock
from image_syncer.jobs.queue import JobQueue, JobStoreOptions, open_jobs
from image_syncer.jobs.retry_strategy import JobRetryPolicy
from image_syncer.jobs.views import JobFilter, JobRecord, JobStatus, JobStep, Replay
from image_syncer.jobs.worker import WorkerOptions

__all__ = [
    "CopyJob",
    "CopyRequest",
    "Handlers",
    "JobFilter",
    "JobKind",
    "JobQueue",
    "JobRecord",
    "JobRetryPolicy",
    "JobStatus",
    "JobStep",
    "JobStoreOptions",
    "JobsUnavailable",
    "JobsUnusable",
    "NoJobs",
    "Replay",
    "RuleJob",
    "WorkerOptions",
    "open_jobs",
    "stored_reference",
    "target_lock",
]
