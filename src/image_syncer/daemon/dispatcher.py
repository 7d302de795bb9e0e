"""Turns recorded events into jobs. Every step can be repeated, so a killed dispatcher loses and doubles nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.daemon.reload import LiveConfig
from image_syncer.errors import ImageSyncerError
from image_syncer.jobs import CopyRequest, JobQueue, JobsUnavailable
from image_syncer.oci import Digest, Repository
from image_syncer.state import Event, State, StateUnavailable
from image_syncer.sync.plan import Copy

_BATCH: Final = 200  # takes much less time than a claim lasts
_OLDEST_EVERY: Final = 4
_SMALL_PRIORITY: Final = 2
_HUGE_PRIORITY: Final = 1  # still before the copies of rules (0)
_HUGE_BYTES: Final = 1024**3
_SWEEP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0  # after the database did not answer


class Dispatcher:
    """Turns pending events into jobs: at once, or all together every *tick_seconds*, as the fork does.

    A changed *tick_seconds* takes effect at the next tick.
    """

    def __init__(
        self,
        state: State,
        jobs: JobQueue,
        config: LiveConfig,
        arrived: asyncio.Event,
        now: Now,
        *,
        tick_seconds: float | None,
    ) -> None:
        self._events = state.events
        self._runs = state.runs
        self._jobs = jobs
        self._config = config
        self._arrived = arrived
        self._now = now
        self.tick_seconds = tick_seconds
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Dispatch until cancelled; events of an earlier process included."""
        while True:
            if self.tick_seconds is not None:
                await asyncio.sleep(self.tick_seconds)
            try:
                await self.dispatch()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("events.postponed", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self.tick_seconds is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SWEEP_SECONDS):
                        await self._arrived.wait()
                self._arrived.clear()

    async def dispatch(self) -> int:
        """Request the copies of all pending events that no other process has claimed; return the number of copies.

        The newest events come first, so that a push does not wait behind a backlog; every fourth batch takes the oldest
        ones. If a database does not answer, the rest is claimed again after the claim has expired.
        """
        copies = 0
        for number in count(1):
            batch = await self._events.claim(_BATCH, now=self._now(), newest=number % _OLDEST_EVERY != 0)
            if not batch:
                break
            copies += await self._dispatch(batch)
        return copies

    async def _dispatch(self, batch: Sequence[Event]) -> int:
        wanted = {event.id: self._copies(event) for event in batch}
        matched = [event for event in batch if wanted[event.id]]
        await self._events.assign(
            {event.id: [(str(copy.source), str(copy.target)) for copy in wanted[event.id]] for event in matched}
        )
        sizes = await self._runs.estimated_sizes(
            {str(copy.target.repository) for event in matched for copy in wanted[event.id]}
        )
        requests = [
            _request(event, copy, sizes[str(copy.target.repository)])
            for event in reversed(matched)
            for copy in wanted[event.id]
        ]
        await self._jobs.request_copies(requests)
        now = self._now()
        await self._events.mark_dispatched([event.id for event in matched], now=now)
        await self._events.mark_unmatched([event.id for event in batch if not wanted[event.id]], now=now)
        self._log.info("events.dispatched", events=len(batch), matched=len(matched), copies=len(requests))
        return len(requests)

    def _copies(self, event: Event) -> tuple[Copy, ...]:
        registry, _, path = event.repository.partition("/")
        try:
            matches = self._config.match(Repository.of(registry, path), event.tag)
        except ImageSyncerError as error:
            self._log.warning("event.unusable", event=event.id, error=str(error))
            return ()
        for failure in matches.failures:
            self._log.warning("event.failed", event=event.id, rule=failure.rule, error=str(failure.failure))
        return matches.copies


def _request(event: Event, copy: Copy, size_bytes: int) -> CopyRequest:
    digest = None if event.digest is None else Digest.parse(event.digest)
    return CopyRequest(
        copy.source,
        copy.target,
        priority=_HUGE_PRIORITY if size_bytes > _HUGE_BYTES else _SMALL_PRIORITY,
        digest=digest,
        rule=copy.rule,
        event=str(event.id),
        platforms=copy.platforms,
        asked_at=event.received_at,
    )
