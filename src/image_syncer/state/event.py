"""Events as values: what a sender told us, how far it has come, and what it led to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventStatus(StrEnum):
    """How far an event has come."""

    RECEIVED = "received"
    DISPATCHED = "dispatched"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A push that we were told of.

    *source* is the name of the hook, queue or import that told us. *repository* is `host/path`. *delivery* is the
    sender's own identifier of its message, None where it has none; the same one again is the same event.
    """

    source: str
    repository: str
    tag: str
    digest: str | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class EventCopy:
    """One copy that an event asks for; *outcome* None until it is finished."""

    source: str
    target: str
    outcome: str | None = None
    reason: str | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A recorded event; *repetitions* counts how often the sender delivered it again.

    *decided_at* is when it was dispatched, or found to be wanted by no rule; None until then.
    """

    id: int
    source: str
    repository: str
    tag: str
    digest: str | None
    delivery: str | None
    received_at: datetime
    status: EventStatus
    decided_at: datetime | None
    repetitions: int
    copies: tuple[EventCopy, ...] = ()


@dataclass(frozen=True, slots=True)
class EventCounts:
    """How many events of each source are remembered with which status, and since when the oldest waits (None: none)."""

    counts: Mapping[tuple[str, EventStatus], int]
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None means any."""

    status: EventStatus | None = None
    source: str | None = None
    repository: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class CopyEnd:
    """The end of a copy from *source* to *target* whose source was read after *began_at*."""

    source: str
    target: str
    began_at: datetime
    finished_at: datetime
    outcome: str
    reason: str | None = None
