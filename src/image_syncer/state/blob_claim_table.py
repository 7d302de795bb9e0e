"""Claims on uploads of blobs, and the processes that make them: so that processes with one state share uploads.

A claim counts while its process is announced: for 30 seconds after its last announcement, and not after its end.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from image_syncer.cache.backend import BlobKey
from image_syncer.state.column_values import microseconds, words
from image_syncer.state.process_identity import is_gone
from image_syncer.state.sql_session import SqlSession, Values, parameters

LEASE: Final = timedelta(seconds=30)
"""How long a process counts as alive after its last announcement."""

RENEW_AFTER: Final = LEASE / 3

_SELECT_CLAIMERS: Final = """
    SELECT holder, shares FROM image_syncer_claimers WHERE seen_at BETWEEN :since AND :until AND holder <> :holder
"""
_ANNOUNCE: Final = """
    INSERT INTO image_syncer_claimers (holder, seen_at, shares) VALUES (:holder, :seen_at, :shares)
    ON CONFLICT (holder) DO UPDATE SET seen_at = excluded.seen_at, shares = excluded.shares
"""
_CLAIM: Final = """
    INSERT INTO image_syncer_blob_claims (registry, digest, holder) VALUES (:registry, :digest, :holder)
    ON CONFLICT (registry, digest) DO NOTHING
"""
_SELECT_HOLDER: Final = """
    SELECT holder FROM image_syncer_blob_claims WHERE registry = :registry AND digest = :digest
"""
_RELEASE: Final = """
    DELETE FROM image_syncer_blob_claims WHERE registry = :registry AND digest = :digest AND holder = :holder
"""


def other_claimers(session: SqlSession, holder: str, now: datetime) -> dict[str, bool]:
    """Return the processes other than *holder* that are announced at *now* and have not ended, and whether each shares.

    A process shares as soon as it knows about others: then all its claims are written.
    """
    recent = {"since": microseconds(now - LEASE), "until": microseconds(now + LEASE), "holder": holder}
    return {other: bool(shares) for other, shares in session.rows(_SELECT_CLAIMERS, recent) if not is_gone(other)}


def announce(session: SqlSession, holder: str, now: datetime, held: Collection[BlobKey]) -> bool:
    """Announce *holder*, and forget processes that have ended, with their claims.

    If there are others, claim *held* too. Returns whether there are.
    """
    others = other_claimers(session, holder, now)
    shares = bool(others)
    session.change(_ANNOUNCE, {"holder": holder, "seen_at": microseconds(now), "shares": shares})
    alive = [holder, *others]
    _delete_others(session, "image_syncer_claimers", alive)
    _delete_others(session, "image_syncer_blob_claims", alive)
    if shares:
        claim(session, held, holder, now)
    return shares


def claim(session: SqlSession, keys: Collection[BlobKey], holder: str, now: datetime) -> set[BlobKey]:
    """Claim *keys* for *holder*; return those that another live process claims.

    Of two processes that insert the same key, the second one waits for the first, and then sees its row.
    """
    alive = [holder, *other_claimers(session, holder, now)]
    _delete_others(session, "image_syncer_blob_claims", alive)
    foreign: set[BlobKey] = set()
    for key in _sorted(keys):
        row = _row(key, holder)
        session.change(_CLAIM, row)
        if [found for (found,) in session.rows(_SELECT_HOLDER, row)] != [holder]:
            foreign.add(key)
    return foreign


def release(session: SqlSession, keys: Sequence[BlobKey], holder: str) -> None:
    """Delete the claims of *holder* on *keys*."""
    for key in _sorted(keys):
        session.change(_RELEASE, _row(key, holder))


def withdraw(session: SqlSession, holder: str) -> None:
    """Delete the announcement and all claims of *holder*."""
    for table in ("image_syncer_blob_claims", "image_syncer_claimers"):
        session.change(f"DELETE FROM {table} WHERE holder = :holder", {"holder": holder})  # noqa: S608 - our table


def _delete_others(session: SqlSession, table: str, holders: Sequence[str]) -> None:
    listed, values = parameters("holder", holders)
    session.change(f"DELETE FROM {table} WHERE holder NOT IN ({listed})", values)  # noqa: S608 - our table


def _sorted(keys: Collection[BlobKey]) -> list[BlobKey]:
    """Return *keys* in one order: processes that lock the same rows in different orders deadlock."""
    return sorted(keys, key=lambda key: (key[0], str(key[1])))


def _row(key: BlobKey, holder: str) -> Values:
    registry, digest = key
    return {"registry": words(registry), "digest": words(str(digest)), "holder": holder}
