"""Claims on uploads of blobs, and the processes that make them: so that processes with one state share uploads.

A claim counts while its process is announced: for 30 seconds after its last announcement, and not after its end.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.cache.backend import BlobKey
from image_syncer.oci import Digest
from image_syncer.state.process_identity import is_gone
from image_syncer.state.tables import blob_claims, claimers

LEASE: Final = timedelta(seconds=30)
"""How long a process counts as alive after its last announcement."""

RENEW_AFTER: Final = LEASE / 3


def other_claimers(connection: Connection, holder: str, now: datetime) -> dict[str, bool]:
    """Return the processes other than *holder* that are announced at *now* and have not ended, and whether each shares.

    A process shares as soon as it knows about others: then all its claims are written.
    """
    recent = claimers.c.seen_at.between(now - LEASE, now + LEASE)
    rows = connection.execute(select(claimers.c.holder, claimers.c.shares).where(recent, claimers.c.holder != holder))
    return {row.holder: row.shares for row in rows if not is_gone(row.holder)}


def announce(connection: Connection, holder: str, now: datetime, held: Collection[BlobKey]) -> bool:
    """Announce *holder*, and forget processes that have ended, with their claims.

    If there are others, claim *held* too. Returns whether there are.
    """
    others = other_claimers(connection, holder, now)
    shares = bool(others)
    values = {"seen_at": now, "shares": shares}
    statement = _insert(connection, claimers).values(holder=holder, **values)
    keys = claimers.primary_key.columns.keys()
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))
    alive = [holder, *others]
    connection.execute(delete(claimers).where(claimers.c.holder.not_in(alive)))
    connection.execute(delete(blob_claims).where(blob_claims.c.holder.not_in(alive)))
    if shares:
        claim(connection, held, holder, now)
    return shares


def claim(connection: Connection, keys: Collection[BlobKey], holder: str, now: datetime) -> set[BlobKey]:
    """Claim *keys* for *holder*; return those that another live process claims.

    Of two processes that insert the same key, the second one waits for the first, and then sees its row.
    """
    alive = [holder, *other_claimers(connection, holder, now)]
    connection.execute(delete(blob_claims).where(blob_claims.c.holder.not_in(alive)))
    foreign: set[BlobKey] = set()
    for registry, digest in sorted(keys, key=lambda key: (key[0], str(key[1]))):
        row = {"registry": registry, "digest": str(digest), "holder": holder}
        connection.execute(_insert(connection, blob_claims).values(**row).on_conflict_do_nothing())
        found = connection.execute(select(blob_claims.c.holder).where(_is_key(registry, digest))).scalar_one_or_none()
        if found != holder:
            foreign.add((registry, digest))
    return foreign


def release(connection: Connection, keys: Sequence[BlobKey], holder: str) -> None:
    """Delete the claims of *holder* on *keys*."""
    for registry, digest in sorted(keys, key=lambda key: (key[0], str(key[1]))):
        connection.execute(delete(blob_claims).where(_is_key(registry, digest), blob_claims.c.holder == holder))


def withdraw(connection: Connection, holder: str) -> None:
    """Delete the announcement and all claims of *holder*."""
    connection.execute(delete(blob_claims).where(blob_claims.c.holder == holder))
    connection.execute(delete(claimers).where(claimers.c.holder == holder))


def _is_key(registry: str, digest: Digest) -> ColumnElement[bool]:
    return and_(blob_claims.c.registry == registry, blob_claims.c.digest == str(digest))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
