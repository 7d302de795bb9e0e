"""Events from a hook into the inbox: the one step that both kinds of hooks share."""

from collections.abc import Sequence

from fastapi import Request

from image_syncer.events import PushEvent
from image_syncer.server.backend import Accepted, Inbox
from image_syncer.server.errors import in_time
from image_syncer.server.metrics import Metrics
from image_syncer.server.middleware import note


class Reception:
    """Hands events in and tells of it. What it returns for is durable."""

    def __init__(self, inbox: Inbox, metrics: Metrics, *, patience_seconds: float) -> None:
        self._inbox = inbox
        self._metrics = metrics
        self._patience = patience_seconds

    async def accept(self, request: Request, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return what became of *events*; `BackendUnavailable` where they are not durable in time."""
        accepted = await in_time(self._patience, self._inbox.accept(source, events))
        note(request, events=(entry.event_id for entry in accepted))
        wanted = sum(1 for entry in accepted if entry.rules)
        self._metrics.recorded(source, wanted=wanted, unmatched=len(accepted) - wanted)
        self.tell(request, source, "accepted" if wanted else "unmatched")
        return accepted

    def tell(self, request: Request, source: str, outcome: str, *, reason: str | None = None) -> None:
        """Count a notification by its *outcome*, and put that into the request's log line."""
        self._metrics.notified(source, outcome)
        note(request, source=source, outcome=outcome)
        if reason is not None:
            note(request, reason=reason)
