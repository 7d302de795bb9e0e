"""Runs each attempt of a job: handler, timeout, log events, and the decision about a retry."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import structlog
from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job
from structlog.contextvars import bound_contextvars

from image_syncer.errors import ImageSyncerError
from image_syncer.jobs.job_manager import AttemptEnd, FencedJobManager
from image_syncer.jobs.payloads import CopyJob, JobKind, RuleJob, age_of, text_arguments
from image_syncer.jobs.retry_strategy import describe, is_outage
from image_syncer.jobs.worker import WorkerOptions


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers by kind of job. A handler must be idempotent, since it may run twice for one job, after a crash.

    `JobRetryPolicy` decides about an exception. A cancellation means an abort or the worker's stop. A handler must not
    block the event loop: the heartbeat would stop, and another worker would take its jobs over.
    """

    copy: Callable[[CopyJob], Awaitable[None]]
    rule: Callable[[RuleJob], Awaitable[None]]


def _origin(job: Job) -> dict[str, str]:
    """Return rule, event, source and target of *job* as log fields."""
    arguments = text_arguments(job.task_kwargs)
    names = {
        "rule": "rule",
        "event": "event_id",
        "source": "source",
        "target": "target",
    }  # A log entry has its own `event`.
    return {name: arguments[key] for key, name in names.items() if key in arguments}


class _Failed(Exception):
    """An attempt failed; *wait* is the pause before the next one in seconds, None after the last one."""

    def __init__(self, wait: float | None) -> None:
        super().__init__("logged as an event of its own")
        self.wait = wait


class _Strategy(BaseRetryStrategy):
    """Reads the decision from the exception. A cancelled attempt (the worker stops) is queued again at once."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002 - Procrastinate's signature
        if isinstance(exception, asyncio.CancelledError):
            return RetryDecision()
        if isinstance(exception, _Failed) and exception.wait is not None:
            return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.wait))
        return None


class AttemptRunner:
    """Runs attempts in *handlers*, as *options* of the worker say; *now* returns the aware time."""

    def __init__(
        self,
        manager: FencedJobManager,
        handlers: Handlers,
        options: WorkerOptions,
        *,
        rng: Random,
        now: Callable[[], datetime],
    ) -> None:
        self._manager = manager
        self._handlers = handlers
        self._options = options
        self._policy = options.retry
        self._rng = rng
        self._now = now
        self._log: Any = structlog.get_logger()

    def app(self) -> App:
        """Return a Procrastinate app with a task for each kind of job."""
        app = App(connector=self._manager.connector)
        app.job_manager = self._manager
        for kind, handle in ((JobKind.COPY, self._copy), (JobKind.RULE, self._rule)):
            app.task(name=kind.value, queue=kind.queue, retry=_Strategy(), pass_context=True)(handle)
        return app

    async def _copy(self, context: JobContext, **_arguments: object) -> None:
        lease = self._manager.lease(context.job, self._options.stalled)
        await self._attempt(context, lambda age: self._handlers.copy(CopyJob.of(context.job, age, lease)))

    async def _rule(self, context: JobContext, **_arguments: object) -> None:
        await self._attempt(context, lambda _: self._handlers.rule(RuleJob.of(context.job)))

    async def _attempt(self, context: JobContext, work: Callable[[float], Awaitable[None]]) -> None:
        job = context.job
        began, age = time.monotonic(), age_of(context.job, self._now())
        with bound_contextvars(job_id=job.id, job=job.task_name, attempt=job.attempts + 1, **_origin(job)):
            try:
                async with asyncio.timeout(self._options.longest):
                    await work(age)
            except asyncio.CancelledError:
                self._end_cancelled(context)
                raise
            except Exception as error:
                raise self._failed(job, error, age) from error
            self._log.info("job.finished", seconds=round(time.monotonic() - began, 3))

    def _end_cancelled(self, context: JobContext) -> None:
        """Record a cancelled attempt; raise `JobAborted` if an operator aborted the job."""
        if context.abort_reason() is AbortReason.USER_REQUEST:
            self._log.info("job.aborted")
            raise JobAborted from None
        self._log.info("job.interrupted")
        self._manager.remember(context.job.id or 0, AttemptEnd(counted=False))

    def _failed(self, job: Job, error: Exception, age: float) -> _Failed:
        wait = self._policy.wait_after(error, job.attempts + 1, self._rng, age=age)
        text = describe(error)
        self._manager.remember(job.id or 0, AttemptEnd(text, counted=self._policy.is_counted(error, age=age)))
        unexpected = not isinstance(error, ImageSyncerError | TimeoutError)
        fields: dict[str, Any] = {"exc_info": error} if unexpected else {}
        if wait is None:
            self._log.error("job.failed", error=text, **fields)
        else:
            # One line tells of a registry that is down, not one for each of its images.
            log = self._log.debug if is_outage(error) else self._log.warning
            log("job.postponed", error=text, seconds=round(wait, 1), **fields)
        return _Failed(wait)
