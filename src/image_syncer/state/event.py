"""Events as values: the push, its status, and the copies that it requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventStatus(StrEnum):
    """The progress of an event: recorded, its jobs created, or matched by no rule."""

    RECEIVED = "received"
    DISPATCHED = "dispatched"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A push notification.

    *source* is the name of the hook, queue or import that received it. *repository* is `host/path`. *delivery* is the
    sender's identifier of its message (None: it sends none); a repeated identifier is the same event.
    """

    source: str
    repository: str
    tag: str
    digest: str | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class EventCopy:
    """A copy that an event requests; *outcome* is None until it is finished."""

    source: str
    target: str
    outcome: str | None = None
    reason: str | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A recorded event; *repetitions* counts repeated deliveries.

    *decided_at* is when it was dispatched or matched no rule; None before.
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
    """The number of events by source and status, and the time of the oldest pending one (None: none is pending)."""

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
    """The end of a copy whose source was read after *began_at*."""

    source: str
    target: str
    began_at: datetime
    finished_at: datetime
    outcome: str
    reason: str | None = None
