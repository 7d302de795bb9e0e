"""Facts about registries in the state, until they expire."""

from datetime import datetime, timedelta
from typing import Final

from image_syncer.cache.backend import FactRecord
from image_syncer.roles import HostFact
from image_syncer.state.column_values import PROSE_LIMIT, instant_of, microseconds, words
from image_syncer.state.sql_session import SqlSession, Values

MOST_FACTS: Final = 10_000
"""The most facts that are read about one host, and kept about all."""

_CLOCK_SKEW: Final = timedelta(minutes=1)
_SELECT: Final = """
    SELECT key, value, recorded_at, expires_at FROM image_syncer_host_facts
    WHERE host = :host AND recorded_at <= :recorded_until AND expires_at > :now
    ORDER BY expires_at DESC LIMIT :most
"""


def select_facts(session: SqlSession, host: str, now: datetime) -> dict[str, tuple[HostFact, float]]:
    """Return the facts about *host* at *now* by key, with the seconds until they expire.

    A fact that was recorded in the future is not used: after a clock was set back, it would not expire for long.
    """
    values = {
        "host": words(host),
        "recorded_until": microseconds(now + _CLOCK_SKEW),
        "now": microseconds(now),
        "most": MOST_FACTS,
    }
    return {
        key: (HostFact(value, instant_of(recorded_at)), (instant_of(expires_at) - now).total_seconds())
        for key, value, recorded_at, expires_at in session.rows(_SELECT, values)
    }


def fact_key(record: FactRecord) -> Values:
    """Return the key of the row of *record*."""
    return {"host": words(record.host), "key": words(record.key)}


def fact_row(record: FactRecord, value: str, now: datetime) -> Values:
    """Return the row of *record* with its *value*, recorded at *now*."""
    return {
        **fact_key(record),
        "value": words(value, PROSE_LIMIT),
        "recorded_at": microseconds(now),
        "expires_at": microseconds(now + timedelta(seconds=record.seconds)),
    }
