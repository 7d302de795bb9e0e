"""When referrers were compared, and which legacy tags this tool wrote: the queries and rows of the state."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from image_syncer.cache.backend import AttachedTagRecord
from image_syncer.oci import Digest, Repository
from image_syncer.roles import ReferrerCheck
from image_syncer.state.column_values import instant_of, microseconds, words
from image_syncer.state.sql_session import SqlSession, Values, chunks, parameters

MOST_ROWS: Final = 1_000_000
"""The most checks, and the most tags, that are kept."""

_SELECT_CHECKS: Final = """
    SELECT subject, listed, settings, checked_at FROM image_syncer_referrer_checks
    WHERE repository = :repository AND subject IN ({subjects})
"""
_SELECT_TAGS: Final = "SELECT tag, digest FROM image_syncer_attached_tags WHERE repository = :repository"


def select_checks(
    session: SqlSession, repository: Repository, subjects: Collection[Digest]
) -> dict[Digest, ReferrerCheck]:
    """Return the last check of each one of *subjects* in *repository* that was checked."""
    found: dict[Digest, ReferrerCheck] = {}
    for some in chunks([words(str(subject)) for subject in subjects]):
        listed_subjects, values = parameters("subject", some)
        query = _SELECT_CHECKS.format(subjects=listed_subjects)
        for text, listed, settings, checked_at in session.rows(query, {"repository": words(str(repository)), **values}):
            subject = Digest.parse(text)
            checked = instant_of(checked_at).timestamp()
            found[subject] = ReferrerCheck(repository, subject, Digest.parse(listed), settings, checked)
    return found


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
