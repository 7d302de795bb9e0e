"""What surrounds each try of a job: its handler, its time-out, its words in the log, and what its end means."""

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
from image_syncer.jobs.retry_strategy import JobRetryPolicy, describe


@dataclass(frozen=True, slots=True)
class Handlers:
    """What a job does. A handler may run twice for one job (after a crash, for example), so it must bear that.

    It ends by returning, or with an exception, of which `JobRetryPolicy` decides; it is cancelled to abort or to stop.
    It must not block the event loop: the heart would not beat, and another worker would take its jobs over.
    """

    copy: Callable[[CopyJob], Awaitable[None]]
    rule: Callable[[RuleJob], Awaitable[None]]


def _behind(job: Job) -> dict[str, str]:
    """Return which rule and which event are behind *job*, for its lines in the log."""
    arguments = text_arguments(job.task_kwargs)
    names = {"rule": "rule", "event": "event_id"}  # In the log `event` is what happened.
    return {name: arguments[key] for key, name in names.items() if key in arguments}


class _Failed(Exception):
    """A try failed; *wait* is the rest before the next one in seconds, None where it was the last."""

    def __init__(self, wait: float | None) -> None:
        super().__init__("the log has an event of its own for it")
        self.wait = wait


class _Strategy(BaseRetryStrategy):
    """Does what the exception says. A cancellation is how a stop ends what runs: back into the queue, at once."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002 - Procrastinate's own signature
        if isinstance(exception, asyncio.CancelledError):
            return RetryDecision()
        if isinstance(exception, _Failed) and exception.wait is not None:
            return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.wait))
        return None


class AttemptRunner:
    """Runs the tries of jobs in *handlers*, each for at most *longest* seconds; *now* is the time (aware)."""

    def __init__(
        self,
        keeper: FencedJobManager,
        handlers: Handlers,
        policy: JobRetryPolicy,
        *,
        longest: float,
        rng: Random,
        now: Callable[[], datetime],
    ) -> None:
        self._keeper = keeper
        self._handlers = handlers
        self._policy = policy
        self._longest = longest
        self._rng = rng
        self._now = now
        self._log: Any = structlog.get_logger()

    def app(self) -> App:
        """Return Procrastinate's application with a task for each kind of job."""
        app = App(connector=self._keeper.connector)
        app.job_manager = self._keeper
        for kind, handle in ((JobKind.COPY, self._copy), (JobKind.RULE, self._rule)):
            app.task(name=kind.value, queue=kind.queue, retry=_Strategy(), pass_context=True)(handle)
        return app

    async def _copy(self, context: JobContext, **_arguments: object) -> None:
        await self._try(context, lambda age: self._handlers.copy(CopyJob.of(context.job, age)))

    async def _rule(self, context: JobContext, **_arguments: object) -> None:
        await self._try(context, lambda _: self._handlers.rule(RuleJob.of(context.job)))

    async def _try(self, context: JobContext, work: Callable[[float], Awaitable[None]]) -> None:
        job = context.job
        began, age = time.monotonic(), age_of(context.job, self._now())
        with bound_contextvars(job_id=job.id, job=job.task_name, attempt=job.attempts + 1, **_behind(job)):
            try:
                async with asyncio.timeout(self._longest):
                    await work(age)
            except asyncio.CancelledError:
                self._stopped(context)
                raise
            except Exception as error:
                raise self._failed(job, error, age) from error
            self._log.info("job.finished", seconds=round(time.monotonic() - began, 3))

    def _stopped(self, context: JobContext) -> None:
        """Tell apart why a try was cancelled; `JobAborted` where an operator wanted it to end for good."""
        if context.abort_reason() is AbortReason.USER_REQUEST:
            self._log.info("job.aborted")
            raise JobAborted from None
        self._log.info("job.interrupted")
        self._keeper.remember(context.job.id or 0, AttemptEnd(counted=False))

    def _failed(self, job: Job, error: Exception, age: float) -> _Failed:
        wait = self._policy.wait_after(error, job.attempts + 1, self._rng, age=age)
        text = describe(error)
        self._keeper.remember(job.id or 0, AttemptEnd(text, counted=self._policy.is_counted(error, age=age)))
        strange = not isinstance(error, ImageSyncerError | TimeoutError)
        fields: dict[str, Any] = {"exc_info": error} if strange else {}
        if wait is None:
            self._log.error("job.failed", error=text, **fields)
        else:
            self._log.warning("job.postponed", error=text, seconds=round(wait, 1), **fields)
        return _Failed(wait)
