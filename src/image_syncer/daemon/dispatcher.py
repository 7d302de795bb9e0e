"""Turns recorded events into jobs. Every step can be repeated, so a killed dispatcher loses and doubles nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.daemon.reload import LiveConfig
from image_syncer.errors import ImageSyncerError
from image_syncer.events.matching import Matches, match_referrer
from image_syncer.jobs import CopyRequest, JobQueue, JobsUnavailable
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.oci.reference import split_reference
from image_syncer.oci.referrer import is_referrer_tag, subject_of_tag
from image_syncer.state import Event, State, StateUnavailable
from image_syncer.sync.plan import Copy

_BATCH: Final = 200  # takes much less time than a claim lasts
_OLDEST_EVERY: Final = 4
_SMALL_PRIORITY: Final = 2
_HUGE_PRIORITY: Final = 1  # still before the copies of rules (0)
_HUGE_BYTES: Final = 1024**3
_SWEEP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0  # after the database did not answer
_NAMED_WITHIN: Final = timedelta(days=1)  # an image is pushed before what is attached to it, which follows soon

_KnownImages = dict[tuple[Repository, Digest | None], Sequence[Reference]]


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
        self._images = state.known_images
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
        known: _KnownImages = {}
        wanted = {event.id: self._copies(event) for event in batch}
        for event in batch:
            if is_referrer_tag(event.tag):
                wanted[event.id] = (*wanted[event.id], *await self._copies_for_referrer(event, known))
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
        requests = _once_per_image(requests)
        await self._jobs.request_copies(requests)
        now = self._now()
        await self._events.mark_dispatched([event.id for event in matched], now=now)
        await self._events.mark_unmatched([event.id for event in batch if not wanted[event.id]], now=now)
        self._log.info("events.dispatched", events=len(batch), matched=len(matched), copies=len(requests))
        return len(requests)

    def _copies(self, event: Event) -> tuple[Copy, ...]:
        try:
            matches = self._config.match(_repository(event.repository), event.tag)
        except ImageSyncerError as error:
            self._log.warning("event.unusable", event=event.id, error=str(error))
            return ()
        return self._logged(event, matches)

    async def _copies_for_referrer(self, event: Event, known: "_KnownImages") -> tuple[Copy, ...]:
        """Return the copies of the images that *event* is about: something was attached to one of them.

        *known* keeps what the state has found for other events of the batch.
        """
        try:
            concerned = self._config.rules_for_referrers(_repository(event.repository))
        except ImageSyncerError:
            return ()  # `_copies` has logged it.
        subject = subject_of_tag(event.tag)
        images: dict[Repository, Sequence[Reference]] = {}
        for origin in dict.fromkeys(repository for _, repository in concerned):
            key = origin, subject
            if key not in known:
                since = self._now() - _NAMED_WITHIN
                found = await self._images.find(str(origin), None if subject is None else str(subject), since=since)
                known[key] = [_reference(origin, text) for text in found]
            images[origin] = known[key]
        return self._logged(event, match_referrer(concerned, images))

    def _logged(self, event: Event, matches: Matches) -> tuple[Copy, ...]:
        for failure in matches.failures:
            self._log.warning("event.failed", event=event.id, rule=failure.rule, error=str(failure.failure))
        return matches.copies


def _repository(text: str) -> Repository:
    registry, _, path = text.partition("/")
    return Repository.of(registry, path)


def _reference(repository: Repository, text: str) -> Reference:
    """Return the reference *text* in *repository*, by tag or by digest."""
    _, tag, digest = split_reference(text.removeprefix(repository.registry))
    return Reference(repository, tag=tag, digest=None if digest is None else Digest.parse(digest))


def _once_per_image(requests: Sequence[CopyRequest]) -> list[CopyRequest]:
    """Drop repeated requests about referrers: one image often gets several at once."""
    seen: set[tuple[Reference, Reference]] = set()
    kept: list[CopyRequest] = []
    for request in requests:
        pair = request.source, request.target
        if not request.referrers or pair not in seen:
            kept.append(request)
        if request.referrers:
            seen.add(pair)
    return kept


def _request(event: Event, copy: Copy, size_bytes: int) -> CopyRequest:
    # The event of a referrer names another digest than that of the image.
    is_about_referrer = copy.source.tag != event.tag
    digest = None if event.digest is None or is_about_referrer else Digest.parse(event.digest)
    return CopyRequest(
        copy.source,
        copy.target,
        priority=_HUGE_PRIORITY if size_bytes > _HUGE_BYTES else _SMALL_PRIORITY,
        digest=digest,
        rule=copy.rule,
        event=str(event.id),
        platforms=copy.platforms,
        asked_at=event.received_at,
        referrers=is_about_referrer,
    )
