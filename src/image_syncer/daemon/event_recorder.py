"""Records the events of webhooks and queues; the dispatcher turns them into jobs afterwards."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from image_syncer.daemon.reload import LiveConfig
from image_syncer.events import PushEvent
from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.server.web_backend import Accepted
from image_syncer.state import EventLog, NewEvent

Now = Callable[[], datetime]
_SLICE: Final = 50


class EventRecorder:
    """Records events, and sets *arrived* once they are durable, which wakes the dispatcher."""

    def __init__(self, events: EventLog, config: LiveConfig, arrived: asyncio.Event, now: Now) -> None:
        self._events = events
        self._config = config
        self._arrived = arrived
        self._now = now

    async def accept(self, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return one entry for each of *events* once their rows are committed; `StateUnavailable` if they are not."""
        # Match first: after the commit nothing may time out or fail, or the answer would be wrong.
        rules: list[tuple[str, ...]] = []
        for number, event in enumerate(events):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # Let other requests in.
            rules.append(self._matching_rules(event))
        ids = await self._events.record([_row(source, event) for event in events], now=self._now())
        self._arrived.set()
        return [Accepted(*entry) for entry in zip(ids, rules, strict=True)]

    def _matching_rules(self, event: PushEvent) -> tuple[str, ...]:
        matches = self._config.match(event.repository, event.tag)
        names = [copy.rule for copy in matches.copies]
        if is_referrer_tag(event.tag):
            names += [rule.name for rule, _ in self._config.rules_for_referrers(event.repository)]
        return tuple(dict.fromkeys(names))


def _row(source: str, event: PushEvent) -> NewEvent:
    digest = None if event.digest is None else str(event.digest)
    return NewEvent(source, str(event.repository), event.tag, digest, event.delivery)
