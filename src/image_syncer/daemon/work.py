"""What jobs do: one copy for an event, or a whole rule. Their ends are written down."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import structlog

from image_syncer.app import Syncer
from image_syncer.daemon.intake import Now, RuleBook
from image_syncer.errors import ImageSyncerError
from image_syncer.jobs import CopyJob, JobRetryPolicy, RuleJob
from image_syncer.oci import PlatformFilter
from image_syncer.server.metrics import Metrics
from image_syncer.state import CopyEnd, NewRun, RunEnd, State, Trigger
from image_syncer.state.pages import chunks
from image_syncer.sync.result import CopyResult, Outcome, RunResult

_ANNOUNCED_WITHIN: Final = timedelta(days=1)


class CopyRefused(ImageSyncerError):
    """The copy of a job failed and would fail again."""


class CopyPostponed(ImageSyncerError):
    """The copy of a job failed and may work later."""

    retryable = True


class Work:
    """The handlers of jobs over one `Syncer`; *policy* is the worker's, to know a last attempt."""

    def __init__(
        self, syncer: Syncer, state: State, book: RuleBook, now: Now, metrics: Metrics, *, policy: JobRetryPolicy
    ) -> None:
        self._syncer = syncer
        self._state = state
        self._book = book
        self._now = now
        self._metrics = metrics
        self._policy = policy
        self._log: Any = structlog.get_logger()

    async def copy(self, job: CopyJob) -> None:
        """Make one copy. A failure that may pass comes out for the queue to repeat."""
        began = self._now()
        rule = self._book.find(job.rule)
        result = await self._syncer.copy(
            job.source, [job.target], platforms=rule.platforms if rule else PlatformFilter()
        )
        entry = replace(result.results[0], rule=job.rule or str(job.source))
        last = entry.outcome is not Outcome.FAILED or not entry.repeatable or job.attempt >= self._policy.attempts
        await self._record(Trigger.EVENT, [entry.rule], replace(result, results=(entry,)))
        if last:
            self._metrics.copied(entry)
            end = CopyEnd(str(job.source), str(job.target), began, self._now(), entry.outcome.value, entry.reason)
            await self._state.events.settle(end)
        if entry.outcome is Outcome.FAILED:
            kind = CopyPostponed if entry.repeatable else CopyRefused
            raise kind(f"{entry.side}: {entry.step}: {entry.reason}", remedy=entry.remedy)

    async def rule(self, job: RuleJob) -> None:
        """Execute one rule. Images that failed are in its run; the next time of the rule tries them again."""
        rule = self._book.find(job.rule)
        if rule is None:
            self._log.warning("rule.gone", rule=job.rule)
            return
        began = self._now()
        result = await self._syncer.sync([rule])
        for entry in result.results:
            self._metrics.copied(entry)
        await self._record(job.trigger, [rule.name], result)
        unannounced = await self._unannounced(result.results, since=began)
        self._log.info(
            "run.finished",
            rule=rule.name,
            unannounced=unannounced,
            **{outcome.value: count for outcome, count in result.counts.items()},
        )

    async def _record(self, trigger: Trigger, rules: Sequence[str], result: RunResult) -> None:
        run = await self._state.runs.begin(NewRun(trigger, rules, result.started_at))
        for some in chunks(result.results):  # Who records events waits for one step at most.
            await self._state.runs.add(run, some)
        await self._state.runs.finish(run, RunEnd(result.finished_at, result.requests, result.warnings))

    async def _unannounced(self, results: Sequence[CopyResult], *, since: datetime) -> int:
        """Return how many images were copied that no event of the last day had announced: hooks that are missing."""
        named = (_name_and_tag(entry.source) for entry in results if entry.outcome is Outcome.COPIED)
        tags = {pair for pair in named if pair is not None}
        if not tags:
            return 0
        return len(tags - await self._state.events.announced(tags, since=since - _ANNOUNCED_WITHIN))


def _name_and_tag(source: str) -> tuple[str, str] | None:
    name, colon, tag = source.rpartition(":")
    return (name, tag) if colon and "@" not in source else None


def chance() -> Random:
    """Return the daemon's random source."""
    return Random()  # noqa: S311 - jitter, no secrets
