"""Notes become rows."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, case, delete
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.cache.backend import BlobRecord, CacheRecord, FilteredRecord, UploadRecord
from image_syncer.oci import PlatformFilter
from image_syncer.roles import ConfirmedCopy, UploadCheckpoint
from image_syncer.state.pages import chunks
from image_syncer.state.tables import blobs, copies, trimmed, uploads
from image_syncer.sync import platform_filter

_SPELLED_LIMIT: Final = 300

Row = dict[str, object]


def filter_text(platforms: PlatformFilter) -> str:
    """Return *platforms* as the state knows them: other filters have other texts."""
    text = json.dumps(platforms.to_options(), separators=(",", ":"))
    return text if len(text) <= _SPELLED_LIMIT else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def write_notes(connection: Connection, notes: Sequence[CacheRecord], now: datetime, holder: str = "") -> None:
    """Write *notes*, of which at most one is about each thing, as of *now*; uploads are *holder*'s."""
    of_blobs = [note for note in notes if isinstance(note, BlobRecord)]
    of_uploads = [note for note in notes if isinstance(note, UploadRecord)]
    _keep(connection, blobs, [_blob(note, now) for note in of_blobs if note.is_held])
    _keep(connection, copies, [_copy(note, now) for note in notes if isinstance(note, ConfirmedCopy)])
    _keep(connection, trimmed, [_trim(note, now) for note in notes if isinstance(note, FilteredRecord)])
    _keep(connection, uploads, [_upload(note, note.unfinished, now, holder) for note in of_uploads if note.unfinished])
    _remove(connection, blobs, [_blob_key(note) for note in of_blobs if not note.is_held])
    _remove(connection, uploads, [_upload_key(note) for note in of_uploads if not note.unfinished])


def _remove(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    for row in _in_order(table, rows):
        connection.execute(delete(table).where(and_(*(table.c[name] == value for name, value in row.items()))))


def _in_order(table: Table, rows: Sequence[Row]) -> list[Row]:
    """Return *rows* by their keys: two processes that wrote the same ones crosswise would end each other."""
    keys = table.primary_key.columns.keys()
    return sorted(rows, key=lambda row: [str(row[key]) for key in keys])


def _keep(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write *rows* of *table* over those with the same keys."""
    if not rows:
        return
    statement = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = table.primary_key.columns.keys()
    changed: dict[str, Any] = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if table is copies:
        changed |= {"written_at": _written(statement.excluded), "first_seen_at": copies.c.first_seen_at}
    for some in chunks(_in_order(table, rows)):
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), some)


def _written(new: Any) -> Any:
    """Return when we wrote what a target names: now, or earlier if it is the same still, else never."""
    same = copies.c.target_digest == new["target_digest"]
    return case((new["written_at"].is_not(None), new["written_at"]), (same, copies.c.written_at))


def _blob_key(note: BlobRecord) -> Row:
    # With the repository: what is known of another one stays.
    repository = note.repository
    return {"registry": repository.registry, "digest": str(note.digest), "repository": repository.path}


def _blob(note: BlobRecord, now: datetime) -> Row:
    return _blob_key(note) | {"size_bytes": note.size_bytes, "seen_at": now}


def _copy(copy: ConfirmedCopy, now: datetime) -> Row:
    return {
        "rule": copy.rule,
        "repository": str(copy.target.repository),
        "identifier": copy.target.identifier,
        "source": str(copy.source),
        "source_digest": str(copy.source_digest),
        "platforms": filter_text(copy.platforms),
        "target_digest": str(copy.target_digest),
        "confirmed_at": now,
        "written_at": now if copy.written else None,
        "first_seen_at": now,
    }


def _trim(note: FilteredRecord, now: datetime) -> Row:
    return {
        "source_digest": str(note.source),
        "platforms": filter_text(note.platforms),
        "digest": str(note.trimmed),
        "trim_version": platform_filter.VERSION,
        "seen_at": now,
    }


def _upload_key(note: UploadRecord) -> Row:
    repository = note.repository
    return {"registry": repository.registry, "repository": repository.path, "digest": str(note.digest)}


def _upload(note: UploadRecord, begun: UploadCheckpoint, now: datetime, holder: str) -> Row:
    at = {"location": begun.location, "offset_bytes": begun.offset_bytes, "updated_at": now, "holder": holder}
    return _upload_key(note) | at
