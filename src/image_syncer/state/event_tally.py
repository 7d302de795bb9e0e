"""The number of events by source and status, from what triggers count: it reads no decided event."""

from typing import Final

from sqlalchemy import BigInteger, Connection, cast, func, select

from image_syncer.state.event import EventCounts, EventStatus
from image_syncer.state.tables import event_counts, event_deltas, events

_GROUP_LIMIT: Final = 1000


def tally(connection: Connection) -> EventCounts:
    """Return the number of events by source and status, and the time of the oldest pending one."""
    if connection.dialect.name == "sqlite":
        counted = event_counts.c
        groups = select(counted.source, counted.status, counted.count).where(counted.count > 0)
    else:
        changed = event_deltas.c
        number = func.sum(changed.change)
        groups = select(changed.source, changed.status, cast(number, BigInteger))
        groups = groups.group_by(changed.source, changed.status).having(number > 0)
    oldest = select(func.min(events.c.received_at)).where(events.c.status == EventStatus.RECEIVED)
    counts = {
        (source, EventStatus(status)): count for source, status, count in connection.execute(groups.limit(_GROUP_LIMIT))
    }
    return EventCounts(counts, connection.execute(oldest).scalar_one())
