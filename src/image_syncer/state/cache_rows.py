"""The tables of the cache: their keys and columns, and the rows that records become."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from image_syncer.cache.backend import (
    AttachedTagRecord,
    BlobRecord,
    CacheRecord,
    CreatedRecord,
    FactRecord,
    FilteredRecord,
    UploadRecord,
)
from image_syncer.oci import PlatformFilter
from image_syncer.roles import ConfirmedCopy, ReferrerCheck, UploadCheckpoint
from image_syncer.state.column_values import microseconds, words
from image_syncer.state.host_fact_table import fact_key, fact_row
from image_syncer.state.referrer_tables import check_row, tag_row
from image_syncer.state.sql_session import SqlSession, Values
from image_syncer.state.tag_time_rows import created_row
from image_syncer.sync import platform_filter

_FILTER_TEXT_LIMIT: Final = 300


class CacheTable:
    """A table: the columns of its primary key, the others, and the column with the *age* of a row.

    A row with a known key is replaced; *merged* maps columns to the SQL of their new value, where that is not simply
    the new row's.
    """

    def __init__(
        self,
        name: str,
        *,
        keys: Sequence[str],
        others: Sequence[str],
        age: str,
        merged: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.keys = tuple(keys)
        self.columns = (*keys, *others)
        self.age = age
        changed = {column: f"excluded.{column}" for column in others} | dict(merged or {})
        self._upsert = (
            f"INSERT INTO {name} ({', '.join(self.columns)}) VALUES (:{', :'.join(self.columns)}) "  # noqa: S608 - our names
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET "
            + ", ".join(f"{column} = {value}" for column, value in changed.items())
        )

    def upsert(self, session: SqlSession, rows: Sequence[Values]) -> None:
        """Insert *rows*, replacing those with the same keys."""
        if rows:
            session.change_each(self._upsert, self._sorted(rows))

    def delete(self, session: SqlSession, rows: Sequence[Values]) -> None:
        """Delete the rows that equal one of *rows*, which have the same columns."""
        if rows:
            condition = " AND ".join(f"{column} = :{column}" for column in rows[0])
            session.change_each(f"DELETE FROM {self.name} WHERE {condition}", self._sorted(rows))  # noqa: S608 - our names

    def delete_oldest(self, session: SqlSession, most: int, *, before: datetime | None = None) -> int:
        """Delete up to *most* rows, oldest first, with *before* only those that are older; return their number."""
        keys = ", ".join(self.keys)
        older = f"WHERE {self.age} < :before" if before is not None else ""
        values = {"most": most} | ({"before": microseconds(before)} if before is not None else {})
        oldest = f"SELECT {keys} FROM {self.name} {older} ORDER BY {self.age} LIMIT :most"  # noqa: S608 - our names
        return session.change(f"DELETE FROM {self.name} WHERE ({keys}) IN ({oldest})", values)  # noqa: S608 - our names

    def count(self, session: SqlSession) -> int:
        """Return the number of rows."""
        ((count,),) = session.rows(f"SELECT count(*) FROM {self.name}", {})  # noqa: S608 - our names
        return count

    def _sorted(self, rows: Sequence[Values]) -> list[Values]:
        """Return *rows* in the order of their keys: processes that lock the same rows in different orders deadlock."""
        return sorted(rows, key=lambda row: [str(row[key]) for key in self.keys])


BLOBS: Final = CacheTable(
    "image_syncer_blobs",
    keys=("registry", "digest"),
    others=("repository", "size_bytes", "seen_at"),
    age="seen_at",
)
COPIES: Final = CacheTable(
    "image_syncer_copies",
    keys=("rule", "repository", "identifier"),
    others=(
        *("source", "source_digest", "platforms", "target_digest"),
        *("confirmed_at", "written_at", "first_seen_at"),
    ),
    age="confirmed_at",
    merged={
        # When we wrote the target's digest: now, the recorded time if the digest is the same, NULL otherwise.
        "written_at": "CASE WHEN excluded.written_at IS NOT NULL THEN excluded.written_at "
        "WHEN image_syncer_copies.target_digest = excluded.target_digest THEN image_syncer_copies.written_at END",
        "first_seen_at": "image_syncer_copies.first_seen_at",
    },
)
TRIMMED: Final = CacheTable(
    "image_syncer_trimmed",
    keys=("source_digest", "platforms"),
    others=("digest", "trim_version", "seen_at"),
    age="seen_at",
)
UPLOADS: Final = CacheTable(
    "image_syncer_uploads",
    keys=("registry", "repository", "digest"),
    others=("location", "offset_bytes", "updated_at", "holder"),
    age="updated_at",
)
FACTS: Final = CacheTable(
    "image_syncer_host_facts",
    keys=("host", "key"),
    others=("value", "recorded_at", "expires_at"),
    age="expires_at",
)

CHECKS: Final = CacheTable(
    "image_syncer_referrer_checks",
    keys=("repository", "subject"),
    others=("listed", "settings", "checked_at"),
    age="checked_at",
)
TAGS: Final = CacheTable(
    "image_syncer_attached_tags",
    keys=("repository", "tag"),
    others=("digest", "written_at"),
    age="written_at",
)
CREATED: Final = CacheTable(
    "image_syncer_image_dates",
    keys=("digest",),
    others=("created_at", "recorded_at"),
    age="recorded_at",
)
FIRST_SEEN: Final = CacheTable(
    "image_syncer_first_seen",
    keys=("repository", "tag", "digest"),
    others=("first_seen_at", "seen_at"),
    age="seen_at",
    merged={"first_seen_at": "image_syncer_first_seen.first_seen_at"},
)


def write_records(session: SqlSession, records: Sequence[CacheRecord], now: datetime, holder: str) -> None:
    """Write *records*, at most one per key, at the time *now*; *holder* is the process that works on the uploads."""
    of_blobs = [record for record in records if isinstance(record, BlobRecord)]
    of_uploads = [record for record in records if isinstance(record, UploadRecord)]
    begun = [(record, record.checkpoint) for record in of_uploads if record.checkpoint]
    facts = [record for record in records if isinstance(record, FactRecord)]
    BLOBS.upsert(session, [_blob_row(record, now) for record in of_blobs if record.is_held])
    COPIES.upsert(session, [_copy_row(record, now) for record in records if isinstance(record, ConfirmedCopy)])
    TRIMMED.upsert(session, [_trim_row(record, now) for record in records if isinstance(record, FilteredRecord)])
    UPLOADS.upsert(session, [_upload_row(record, upload, now, holder) for record, upload in begun])
    FACTS.upsert(session, [fact_row(fact, fact.value, now) for fact in facts if fact.value is not None])
    CHECKS.upsert(session, [check_row(record) for record in records if isinstance(record, ReferrerCheck)])
    TAGS.upsert(session, [tag_row(record, now) for record in records if isinstance(record, AttachedTagRecord)])
    CREATED.upsert(session, [created_row(record, now) for record in records if isinstance(record, CreatedRecord)])
    BLOBS.delete(session, [_blob_key(record) for record in of_blobs if not record.is_held])
    UPLOADS.delete(session, [_upload_key(record) for record in of_uploads if not record.checkpoint])
    FACTS.delete(session, [fact_key(fact) for fact in facts if fact.value is None])


def filter_text(platforms: PlatformFilter) -> str:
    """Return the text that identifies *platforms* in the state; long ones become a digest."""
    text = json.dumps(platforms.to_options(), separators=(",", ":"))
    return text if len(text) <= _FILTER_TEXT_LIMIT else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _blob_key(record: BlobRecord) -> Values:
    # The repository is part of it, so that a location in another repository stays.
    repository = record.repository
    return {
        "registry": words(repository.registry),
        "digest": words(str(record.digest)),
        "repository": words(repository.path),
    }


def _blob_row(record: BlobRecord, now: datetime) -> Values:
    return {**_blob_key(record), "size_bytes": record.size_bytes, "seen_at": microseconds(now)}


def _copy_row(copy: ConfirmedCopy, now: datetime) -> Values:
    at = microseconds(now)
    return {
        "rule": words(copy.rule),
        "repository": words(str(copy.target.repository)),
        "identifier": words(copy.target.identifier),
        "source": words(str(copy.source)),
        "source_digest": words(str(copy.source_digest)),
        "platforms": filter_text(copy.platforms),
        "target_digest": words(str(copy.target_digest)),
        "confirmed_at": at,
        "written_at": at if copy.written else None,
        "first_seen_at": at,
    }


def _trim_row(record: FilteredRecord, now: datetime) -> Values:
    return {
        "source_digest": words(str(record.source)),
        "platforms": filter_text(record.platforms),
        "digest": words(str(record.filtered)),
        "trim_version": platform_filter.VERSION,
        "seen_at": microseconds(now),
    }


def _upload_key(record: UploadRecord) -> Values:
    repository = record.repository
    return {
        "registry": words(repository.registry),
        "repository": words(repository.path),
        "digest": words(str(record.digest)),
    }


def _upload_row(record: UploadRecord, upload: UploadCheckpoint, now: datetime, holder: str) -> Values:
    return {
        **_upload_key(record),
        "location": upload.location,
        "offset_bytes": upload.offset_bytes,
        "updated_at": microseconds(now),
        "holder": holder,
    }
