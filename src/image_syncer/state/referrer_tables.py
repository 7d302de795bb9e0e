"""When referrers were compared, and which legacy tags this tool wrote: the queries and rows of the state."""

from datetime import UTC, datetime
from typing import Final

from image_syncer.cache.backend import AttachedTagRecord
from image_syncer.oci import Digest, Repository
from image_syncer.roles import ReferrerCheck
from image_syncer.state.column_values import instant_of, microseconds, words
from image_syncer.state.sql_session import SqlSession, Values

MOST_ROWS: Final = 1_000_000
"""The most checks, and the most tags, that are kept."""

_SELECT_CHECKS: Final = """
    SELECT subject, listed, settings, checked_at FROM image_syncer_referrer_checks WHERE repository = :repository
"""
_SELECT_TAGS: Final = "SELECT tag, digest FROM image_syncer_attached_tags WHERE repository = :repository"


def select_checks(session: SqlSession, repository: Repository) -> dict[Digest, ReferrerCheck]:
    """Return the last check of each subject in *repository*."""
    rows = session.rows(_SELECT_CHECKS, {"repository": words(str(repository))})
    return {
        Digest.parse(subject): ReferrerCheck(
            repository,
            Digest.parse(subject),
            Digest.parse(listed),
            settings,
            instant_of(checked_at).timestamp(),
        )
        for subject, listed, settings, checked_at in rows
    }


def select_tags(session: SqlSession, repository: Repository) -> dict[str, Digest]:
    """Return what this tool last wrote at each legacy tag of *repository*."""
    rows = session.rows(_SELECT_TAGS, {"repository": words(str(repository))})
    return {tag: Digest.parse(digest) for tag, digest in rows}


def check_row(check: ReferrerCheck) -> Values:
    """Return the row of *check*."""
    return {
        "repository": words(str(check.repository)),
        "subject": words(str(check.subject)),
        "listed": words(str(check.listed)),
        "settings": words(check.settings),
        "checked_at": microseconds(datetime.fromtimestamp(check.checked_at, UTC)),
    }


def tag_row(record: AttachedTagRecord, now: datetime) -> Values:
    """Return the row of *record*, written at *now*."""
    return {
        "repository": words(str(record.repository)),
        "tag": words(record.tag),
        "digest": words(str(record.digest)),
        "written_at": microseconds(now),
    }
