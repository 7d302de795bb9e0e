"""PostgreSQL as the store of jobs: Procrastinate's own connector, with a bound for every wait, and both schemas."""

from typing import Any, Final

import psycopg
from procrastinate import PsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from image_syncer.errors import UsageError
from image_syncer.jobs.errors import NoJobs
from image_syncer.jobs.queries import SCHEMA, SCHEMA_VERSION
from image_syncer.state import MIGRATION_LOCK

_CONNECT_SECONDS: Final = 10
# Without these a connection that lost its peer hangs for hours (procrastinate #1334).
_WATCHED: Final = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}


def postgres_connector(conninfo: str, connections: int, busy: float) -> PsycopgConnector:
    """Return Procrastinate's connector for *conninfo*, with at most *connections* and one more that listens.

    A query waits up to *busy* seconds for one of them.
    """
    return PsycopgConnector(
        conninfo=_bounded(conninfo),
        kwargs={"prepare_threshold": None},  # Prepared statements do not survive a pooler.
        configure=_configure,
        min_size=1,
        max_size=connections,
        timeout=busy,
        # A failed attempt to reconnect is given up soon, since the next query makes another: the pool's own pauses
        # would double until they were as long as the outage.
        reconnect_timeout=5.0,
    )


async def prepare(conninfo: str, place: str, *, make: bool) -> None:
    """Make the schemas, once, however many processes start together; `UsageError` where the database is not for us.

    `NoJobs` where they are missing and *make* is False.
    """
    async with await psycopg.AsyncConnection.connect(_bounded(conninfo)) as connection:
        if make:
            await connection.execute("SELECT set_config('lock_timeout', '60s', true)")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        ours, theirs = await _found(connection)
        if ours is None and theirs:
            raise UsageError(
                f"{place}: holds the jobs of another program that uses Procrastinate",
                remedy="give image-syncer a database of its own, or a schema with ?options=-csearch_path%3Dname",
            )
        if ours is None and not make:
            raise NoJobs(place)
        if ours is None:
            await connection.execute(SchemaManager.get_schema())
            await connection.execute(SCHEMA)
        elif ours > SCHEMA_VERSION:
            raise UsageError(f"{place}: of a newer image-syncer", remedy="use that version or a later one")


async def _found(connection: psycopg.AsyncConnection) -> tuple[int | None, bool]:
    """Return the version of our schema (None: not there), and whether Procrastinate's tables are there."""
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
    """Let each statement commit by itself, durably: a process that stops between two round trips holds no lock.

    A server whose default is `synchronous_commit = off` would acknowledge what a crash may lose.
    """
    await connection.set_autocommit(True)
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


def _bounded(conninfo: str) -> str:
    """Return *conninfo* with our bounds where it does not set its own."""
    own = conninfo_to_dict(conninfo)
    ours = {"connect_timeout": _CONNECT_SECONDS, "application_name": "image-syncer jobs"} | _WATCHED
    return make_conninfo(conninfo, **{key: value for key, value in ours.items() if key not in own})
