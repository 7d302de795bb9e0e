"""Which images of a source repository are known, for events about what is attached to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, or_, select

from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.state.database import Database
from image_syncer.state.tables import events, results

MOST_IMAGES: Final = 20
"""The most images that one event about an unknown subject concerns: the newest ones of the repository."""

_MOST_REFERENCES: Final = 200
_EVENTS_READ: Final = 200


class KnownImages:
    """The images that the daemon has copied, or wants to copy since an event named them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, repository: str, subject: str | None, *, since: datetime) -> list[str]:
        """Return the references of the source *repository* (`host/path`) that a referrer of *subject* concerns.

        These are the images with that digest, by the latest results and by the events since *since*; at most 200. If
        there are none (it is the subject of a platform, or unknown), these are the newest images of the repository: at
        most 20 by results and 20 by events.
        """
        return await self._database.read(lambda connection: _find(connection, repository, subject, since))


def _find(connection: Connection, repository: str, subject: str | None, since: datetime) -> list[str]:
    # Not a range: collations of PostgreSQL order punctuation in their own ways.
    in_repository = or_(*(results.c.source.startswith(f"{repository}{sign}", autoescape=True) for sign in ":@"))
    by_result = select(results.c.source).where(results.c.latest, in_repository)
    by_event = select(events.c.tag).where(events.c.repository == repository, events.c.received_at >= since)
    if subject is not None:
        copied = _texts(connection, by_result.where(results.c.source_digest == subject).limit(_MOST_REFERENCES))
        named = _tags(connection, by_event.where(events.c.digest == subject))
        found = dict.fromkeys([*copied, *(f"{repository}:{tag}" for tag in named)])
        if found:
            return list(found)[:_MOST_REFERENCES]
    copied = _texts(connection, by_result.order_by(results.c.id.desc()).limit(MOST_IMAGES * 2))[:MOST_IMAGES]
    named = _tags(connection, by_event)[:MOST_IMAGES]
    return list(dict.fromkeys([*copied, *(f"{repository}:{tag}" for tag in named)]))


def _tags(connection: Connection, statement: Select[Any]) -> list[str]:
    """Return the tags of versions among the newest rows of *statement*, each once."""
    newest = statement.order_by(events.c.id.desc()).limit(_EVENTS_READ)
    return [tag for tag in _texts(connection, newest) if not is_referrer_tag(tag)]


def _texts(connection: Connection, statement: Select[Any]) -> Sequence[str]:
    return list(dict.fromkeys(connection.execute(statement).scalars()))
