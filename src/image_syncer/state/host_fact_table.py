"""Facts about registries in the state, until they expire."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, and_, delete, select

from image_syncer.cache.backend import FactRecord
from image_syncer.roles import HostFact
from image_syncer.state.tables import host_facts

MOST_FACTS: Final = 10_000
"""The most facts that are read about one host, and kept about all."""

_CLOCK_SKEW: Final = timedelta(minutes=1)


def select_facts(connection: Connection, host: str, now: datetime) -> dict[str, tuple[HostFact, float]]:
    """Return the facts about *host* at *now* by key, with the seconds until they expire.

    A fact that was recorded in the future is not used: after a clock was set back, it would not expire for long.
    """
    valid = and_(host_facts.c.recorded_at <= now + _CLOCK_SKEW, host_facts.c.expires_at > now)
    wanted = select(host_facts).where(host_facts.c.host == host, valid)
    rows = connection.execute(wanted.order_by(host_facts.c.expires_at.desc()).limit(MOST_FACTS))
    return {row.key: (HostFact(row.value, row.recorded_at), (row.expires_at - now).total_seconds()) for row in rows}


def delete_forgotten(connection: Connection, records: Collection[FactRecord]) -> None:
    """Delete the facts whose record has no value."""
    forgotten = sorted((record.host, record.key) for record in records if record.value is None)
    for host, key in forgotten:
        connection.execute(delete(host_facts).where(host_facts.c.host == host, host_facts.c.key == key))


def fact_row(record: FactRecord, now: datetime) -> dict[str, object]:
    """Return the row of *record*, recorded at *now*."""
    return {
        "host": record.host,
        "key": record.key,
        "value": record.value,
        "recorded_at": now,
        "expires_at": now + timedelta(seconds=record.seconds),
    }
