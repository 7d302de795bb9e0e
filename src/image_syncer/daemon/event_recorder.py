"""Where notifications arrive: written down first, answered then, worked on later."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from image_syncer.app import Options
from image_syncer.events import PushEvent
from image_syncer.events.matching import match_push
from image_syncer.server.backend import Accepted, BackendUnavailable
from image_syncer.state import EventLog, NewEvent, StateUnavailable
from image_syncer.sync.rule import Rule

Now = Callable[[], datetime]


@dataclass(slots=True)
class LiveConfig:
    """The rules that hold now, how their registries are reached, and how many copies at once each of these takes."""

    rules: tuple[Rule, ...]
    options: Options = field(default_factory=Options)
    copy_limits: Mapping[str, int] = field(default_factory=dict[str, int])

    def find(self, name: str | None) -> Rule | None:
        """Return the rule *name*, None where there is none (any more)."""
        return next((rule for rule in self.rules if rule.name == name), None)


class EventRecorder:
    """Records events; whoever waits for *arrived* is woken once they are durable."""

    def __init__(self, events: EventLog, book: LiveConfig, arrived: asyncio.Event, now: Now) -> None:
        self._events = events
        self._book = book
        self._arrived = arrived
        self._now = now

    async def accept(self, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return one entry for each of *events* once their rows are committed; `BackendUnavailable` otherwise."""
        rows = [_row(source, event) for event in events]
        try:
            ids = await self._events.record(rows, now=self._now())
        except StateUnavailable as error:
            raise BackendUnavailable(error.message) from error
        self._arrived.set()
        return [Accepted(number, self._rules(event)) for number, event in zip(ids, events, strict=True)]

    def _rules(self, event: PushEvent) -> tuple[str, ...]:
        matches = match_push(event.repository, event.tag, self._book.rules)
        return tuple(dict.fromkeys(copy.rule for copy in matches.copies))


def _row(source: str, event: PushEvent) -> NewEvent:
    digest = None if event.digest is None else str(event.digest)
    return NewEvent(source, str(event.repository), event.tag, digest, event.delivery)
