"""Since when tags are public, and when images were created: the queries and rows of the state."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from image_syncer.cache.backend import CreatedRecord
from image_syncer.oci import Digest, Repository
from image_syncer.state.column_values import instant_of, microseconds, words
from image_syncer.state.sql_session import SqlSession, Values, chunks, parameters
from image_syncer.structs import Struct

_RENEW_AFTER: Final = timedelta(days=1)
_SELECT_FIRST_SEEN: Final = """
    SELECT tag, digest, first_seen_at, seen_at FROM image_syncer_first_seen
    WHERE repository = :repository AND tag IN ({tags})
"""
_SELECT_CREATED: Final = "SELECT digest, created_at FROM image_syncer_image_dates WHERE digest IN ({digests})"


class FirstSeenRow(Struct):
    """A digest of a tag: when it was seen first, and last within a day."""

    digest: Digest
    first_seen_at: datetime
    seen_at: datetime


def select_first_seen(
    session: SqlSession, repository: Repository, tags: Collection[str]
) -> dict[str, list[FirstSeenRow]]:
    """Return the rows of each one of *tags* of *repository* that was seen."""
    found: dict[str, list[FirstSeenRow]] = {}
    for some in chunks([words(tag) for tag in tags]):
        listed, values = parameters("tag", some)
        query = _SELECT_FIRST_SEEN.format(tags=listed)
        for tag, digest, first, last in session.rows(query, {"repository": words(str(repository)), **values}):
            row = FirstSeenRow(Digest.parse(digest), instant_of(first), instant_of(last))
            found.setdefault(tag, []).append(row)
    return found


def rows_to_renew(repository: Repository, found: Mapping[str, Sequence[FirstSeenRow]], now: datetime) -> list[Values]:
    """Return the rows of the newest digest of each tag that were last seen a day ago, seen *now*."""
    newest = ((tag, max(rows, key=lambda row: row.first_seen_at)) for tag, rows in found.items())
    return [
        first_seen_row(repository, tag, row.digest, row.first_seen_at, now)
        for tag, row in newest
        if now - row.seen_at > _RENEW_AFTER
    ]


def first_seen_row(repository: Repository, tag: str, digest: Digest, first: datetime, now: datetime) -> Values:
    """Return the row of *digest* at *tag*, first seen at *first* and seen *now*."""
    return {
        "repository": words(str(repository)),
        "tag": words(tag),
        "digest": words(str(digest)),
        "first_seen_at": microseconds(first),
        "seen_at": microseconds(now),
    }


def select_created(session: SqlSession, digests: Collection[Digest]) -> dict[Digest, datetime | None]:
    """Return the recorded date of each known one of *digests*; None: it has no credible one."""
    found: dict[Digest, datetime | None] = {}
    for some in chunks([words(str(digest)) for digest in digests]):
        listed, values = parameters("digest", some)
        for digest, created in session.rows(_SELECT_CREATED.format(digests=listed), values):
            found[Digest.parse(digest)] = None if created is None else instant_of(created)
    return found


def created_row(record: CreatedRecord, now: datetime) -> Values:
    """Return the row of *record*, recorded at *now*."""
    return {
        "digest": words(str(record.digest)),
        "created_at": None if record.created is None else microseconds(record.created),
        "recorded_at": microseconds(now),
    }
