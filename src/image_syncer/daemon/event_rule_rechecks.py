"""Requests the comparison of referrers for rules without a schedule, which only events run.

The referrers of an image may change without an event that names it. So images whose `recheck` has come get a job.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.services import Services
from image_syncer.jobs import CopyRequest, JobsUnavailable, stored_reference
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.state import ImageFilter, StateCacheBackend, StateUnavailable
from image_syncer.sync.referrer_rechecks import has_come
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import Rule

MOST_REQUESTS: Final = 200
"""The most images of one rule that one round requests."""

_FIRST_SECONDS: Final = 120.0  # leaves the start to more urgent work
_INTERVAL_SECONDS: Final = 900.0
_PAGE: Final = 500
_MOST_PAGES: Final = 200

Pause = Callable[[float], Awaitable[None]]


class EventRuleRechecks:
    """Requests jobs for images that are due. Any number of processes may do this on one database.

    *keep* is the retention of the state. *pause* sleeps for seconds.
    """

    def __init__(self, services: Services, *, keep: timedelta, pause: Pause = asyncio.sleep) -> None:
        self._services = services
        self._cache = StateCacheBackend(services.state.database, keep=keep, now=services.now)
        self._pause = pause
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Request what is due every 15 minutes, until cancelled."""
        wait = _FIRST_SECONDS
        while True:
            await self._pause(wait)
            wait = _INTERVAL_SECONDS
            try:
                await self.request()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("rechecks.postponed", error=str(error))

    async def request(self) -> int:
        """Request a job for each image that is due, at most 200 per rule; return their number."""
        requested = 0
        for rule in self._services.config.rules:
            triggers, referrers = rule.triggers, rule.referrers
            if triggers.events and triggers.schedule is None and referrers.enabled and referrers.recheck_seconds > 0:
                requests = await self._due(rule)
                await self._services.jobs.request_copies(requests)
                requested += len(requests)
        return requested

    async def _due(self, rule: Rule) -> list[CopyRequest]:
        found: list[CopyRequest] = []
        before: int | None = None
        for _ in range(_MOST_PAGES):
            page = await self._services.state.runs.images(ImageFilter(rule=rule.name), before=before, limit=_PAGE)
            found += await self._due_of([result for _, result in page], rule)
            if len(page) < _PAGE or len(found) >= MOST_REQUESTS:
                break
            before = page[-1][0]
        return found[:MOST_REQUESTS]

    async def _due_of(self, results: Sequence[CopyResult], rule: Rule) -> list[CopyRequest]:
        """Return requests for the images at the target that were never compared, or whose phase has come."""
        by_repository: dict[Repository, list[tuple[CopyRequest, Digest]]] = {}
        for result in results:
            source, target = stored_reference(result.source), stored_reference(result.target)
            is_there = result.outcome in {Outcome.COPIED, Outcome.UNCHANGED}
            if is_there and result.target_digest is not None and _is_wanted(rule, source):
                request = CopyRequest(source, target, rule=rule.name, platforms=rule.platforms, referrers=True)
                by_repository.setdefault(target.repository, []).append((request, result.target_digest))
        due: list[CopyRequest] = []
        now = self._services.now().timestamp()
        for repository, images in by_repository.items():
            checks = await self._cache.referrer_checks(repository, {digest for _, digest in images})
            for request, digest in images:
                last = checks.get(digest)
                if last is None or has_come(last, rule.referrers.recheck_seconds, now):
                    due.append(request)
        return due


def _is_wanted(rule: Rule, source: Reference) -> bool:
    return source.tag is not None and rule.wants(source.repository, source.tag)
