"""Facts about one request, collected for its log line."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast

from fastapi import Request
from starlette.types import Scope

_KEY: Final = "image_syncer.request"


@dataclass(slots=True)
class RequestRecord:
    """Facts about one finished request; *status* None: it got no answer."""

    status: int | None = None
    events: list[int] = field(default_factory=list[int])
    facts: dict[str, str] = field(default_factory=dict[str, str])


def begin_record(scope: Scope) -> RequestRecord:
    """Return the new record of the request in *scope*."""
    record = scope[_KEY] = RequestRecord()
    return record


def note(request: Request, *, events: Iterable[int] = (), **facts: str) -> None:
    """Add to the log line of *request*: its events, and other facts without secrets."""
    record = cast("RequestRecord", request.scope[_KEY])
    record.events.extend(events)
    record.facts.update(facts)
