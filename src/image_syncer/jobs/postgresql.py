"""PostgreSQL as job store: Procrastinate's connector with a bound for every wait, and both schemas."""

from typing import Any, Final

import psycopg
from procrastinate import PsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from image_syncer.errors import UsageError
from image_syncer.jobs.errors import NoJobs
from image_syncer.jobs.queries import SCHEMA, SCHEMA_VERSION, UPGRADES
from image_syncer.state import MIGRATION_LOCK

_CONNECT_SECONDS: Final = 10
# Without these, a connection whose peer vanished hangs for hours (procrastinate #1334).
_KEEPALIVES: Final = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def postgres_connector(conninfo: str, connections: int, busy: float) -> PsycopgConnector:
    """Return Procrastinate's connector for *conninfo* with at most *connections*, plus one that listens.

    A query waits up to *busy* seconds for a connection.
    """
    return PsycopgConnector(
        conninfo=_bounded(conninfo),
        kwargs={"prepare_threshold": None},  # Prepared statements do not work through a pooler.
        configure=_configure,
        min_size=1,
        max_size=connections,
        timeout=busy,
        # Short, since the next query reconnects anyway: the pool's pauses would double up to the length of the outage.
        reconnect_timeout=5.0,
    )


async def prepare(conninfo: str, place: str, *, make: bool) -> None:
    """Create the schemas under a lock; `UsageError` if the database holds other jobs, or those of a newer version.

    `NoJobs` if they are missing and *make* is False.
    """
    async with await psycopg.AsyncConnection.connect(_bounded(conninfo)) as connection:
        if make:
            await connection.execute("SELECT set_config('lock_timeout', '60s', true)")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        version, has_tables = await _find_schema(connection)
        if version is None and has_tables:
            raise UsageError(
                f"{place}: another program uses Procrastinate in this database",
                remedy="use a separate database, or a schema with ?options=-csearch_path%3Dname",
            )
        if version is None and not make:
            raise NoJobs(place)
        if version is None:
            await connection.execute(SchemaManager.get_schema())
            await connection.execute(SCHEMA)
            version = 1
        elif version > SCHEMA_VERSION:
            raise UsageError(f"{place}: written by a newer image-syncer", remedy="use that version or a later one")
        for older in range(version, SCHEMA_VERSION) if make else ():
            await connection.execute(UPGRADES[older])


async def _find_schema(connection: psycopg.AsyncConnection) -> tuple[int | None, bool]:
    """Return the version of our schema (None: missing), and whether Procrastinate's tables exist."""
    row = await (
        await connection.execute(
            "SELECT to_regclass('image_syncer_job_schema') IS NOT NULL, to_regclass('procrastinate_jobs') IS NOT NULL"
        )
    ).fetchone()
    ours, theirs = row or (False, False)
    if not ours:
        return None, theirs
    version = await (await connection.execute("SELECT max(version) FROM image_syncer_job_schema")).fetchone()
    return (version or (0,))[0], theirs


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Commit each statement durably: a process that stops between two statements holds no lock.

    A server with `synchronous_commit = off` would acknowledge writes that a crash may lose.
    """
    await connection.set_autocommit(True)
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


def _bounded(conninfo: str) -> str:
    """Return *conninfo* with default bounds, unless it sets them."""
    given = conninfo_to_dict(conninfo)
    defaults = {"connect_timeout": _CONNECT_SECONDS, "application_name": "image-syncer jobs"} | _KEEPALIVES
    return make_conninfo(conninfo, **{key: value for key, value in defaults.items() if key not in given})
