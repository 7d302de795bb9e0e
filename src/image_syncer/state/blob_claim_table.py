"""Claims on uploads of blobs, and the processes that make them: so that processes with one state share uploads.

A claim counts while its process is announced: for 30 seconds after its last announcement, and not after its end.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from image_syncer.cache.backend import BlobKey
from image_syncer.state.column_values import microseconds, words
from image_syncer.state.process_identity import is_gone
from image_syncer.state.sql_session import SqlSession, Values
from image_syncer.structs import Struct

LEASE: Final = timedelta(seconds=30)
"""How long a process counts as alive after its last announcement."""

RENEW_AFTER: Final = LEASE / 3

_SELECT_CLAIMERS: Final = """
    SELECT holder, seen_at, shares FROM image_syncer_claimers WHERE holder <> :holder
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
_FORGET: Final = "DELETE FROM image_syncer_claimers WHERE holder = :holder AND seen_at = :seen_at"
_FORGET_CLAIMS: Final = """
    DELETE FROM image_syncer_blob_claims WHERE holder NOT IN (SELECT holder FROM image_syncer_claimers)
"""
# Compare and swap: of several processes that find the same dead holder, one takes over.
_TAKE_OVER: Final = """
    UPDATE image_syncer_blob_claims SET holder = :holder
    WHERE registry = :registry AND digest = :digest AND holder = :dead
"""
_RELEASE: Final = """
    DELETE FROM image_syncer_blob_claims WHERE registry = :registry AND digest = :digest AND holder = :holder
"""


class OtherClaimers(Struct):
    """The announced processes but one, as far as their announcements are committed."""

    alive: Mapping[str, bool]
    """Those that have not ended, by holder, and whether each shares: all its claims are in the table."""
    ended: Mapping[str, int]
    """Those that have ended, and their last announcement in microseconds."""


def other_claimers(session: SqlSession, holder: str, now: datetime) -> OtherClaimers:
    """Return the announced processes other than *holder* at *now*."""
    since, until = microseconds(now - LEASE), microseconds(now + LEASE)
    alive: dict[str, bool] = {}
    ended: dict[str, int] = {}
    for other, seen_at, shares in session.rows(_SELECT_CLAIMERS, {"holder": holder}):
        if since <= seen_at <= until and not is_gone(other):
            alive[other] = bool(shares)
        else:
            ended[other] = seen_at
    return OtherClaimers(alive, ended)


def announce(session: SqlSession, holder: str, now: datetime, held: Collection[BlobKey] | None) -> None:
    """Announce *holder*. With *held*, it shares, and claims them too.

    This reads nothing about others: a transaction does not see an announcement that is not committed yet. Of two
    processes that announce themselves at once, and look for others after their commits, the later one finds the other.
    """
    values = {"holder": holder, "seen_at": microseconds(now), "shares": held is not None}
    session.change(_ANNOUNCE, values)
    if held:
        claim(session, held, holder, now)


def forget(session: SqlSession, ended: Mapping[str, int]) -> None:
    """Delete the announcements of processes that have *ended*, unless one has announced itself again, and their claims.

    Only rows that were read are deleted: another process may announce itself at any time.
    """
    for holder, seen_at in sorted(ended.items()):
        session.change(_FORGET, {"holder": holder, "seen_at": seen_at})
    session.change(_FORGET_CLAIMS, {})


def claim(session: SqlSession, keys: Collection[BlobKey], holder: str, now: datetime) -> set[BlobKey]:
    """Claim *keys* for *holder*; return those that another live process claims.

    Of two processes that insert the same key, the second one waits for the first, and then sees its row. A process
    announces itself before its first claim, so the holder of a visible claim is alive only if its announcement is
    visible after it.
    """
    holders = {key: _insert(session, _row(key, holder)) for key in _sorted(keys)}
    foreign = {key: found for key, found in holders.items() if found != holder}
    if foreign:
        alive = other_claimers(session, holder, now).alive
        for key, dead in list(foreign.items()):
            if dead not in alive and session.change(_TAKE_OVER, {**_row(key, holder), "dead": dead}):
                del foreign[key]
    return set(foreign)


def _insert(session: SqlSession, row: Values) -> str:
    """Insert *row* unless its key has one, and return who holds it; empty if that one released it just now."""
    session.change(_CLAIM, row)
    return "".join(holder for (holder,) in session.rows(_SELECT_HOLDER, row))


def release(session: SqlSession, keys: Sequence[BlobKey], holder: str) -> None:
    """Delete the claims of *holder* on *keys*."""
    for key in _sorted(keys):
        session.change(_RELEASE, _row(key, holder))


def withdraw(session: SqlSession, holder: str) -> None:
    """Delete the announcement and all claims of *holder*."""
    for table in ("image_syncer_blob_claims", "image_syncer_claimers"):
        session.change(f"DELETE FROM {table} WHERE holder = :holder", {"holder": holder})  # noqa: S608 - our table


def _sorted(keys: Collection[BlobKey]) -> list[BlobKey]:
    """Return *keys* in one order: processes that lock the same rows in different orders deadlock."""
    return sorted(keys, key=lambda key: (key[0], str(key[1])))


def _row(key: BlobKey, holder: str) -> Values:
    registry, digest = key
    return {"registry": words(registry), "digest": words(str(digest)), "holder": holder}
