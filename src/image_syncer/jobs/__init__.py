"""When things are done: a durable queue in a SQLite file or PostgreSQL, and the worker that serves it."""

from image_syncer.jobs.engine import Jobs, StoreOptions, open_jobs
from image_syncer.jobs.requests import CopyJob, CopyRequest, JobKind, RuleJob, target_lock
from image_syncer.jobs.retry import JobRetryPolicy
from image_syncer.jobs.tasks import Handlers
from image_syncer.jobs.trouble import JobsUnavailable, NoJobs
from image_syncer.jobs.views import JobFilter, JobStatus, JobStep, JobView, Replay
from image_syncer.jobs.worker import WorkerOptions

__all__ = [
    "CopyJob",
    "CopyRequest",
    "Handlers",
    "JobFilter",
    "JobKind",
    "JobRetryPolicy",
    "JobStatus",
    "JobStep",
    "JobView",
    "Jobs",
    "JobsUnavailable",
    "NoJobs",
    "Replay",
    "RuleJob",
    "StoreOptions",
    "WorkerOptions",
    "open_jobs",
    "target_lock",
]
