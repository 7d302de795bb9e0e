"""Create or migrate the schema at start; a lock makes it happen once for processes that start together."""

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from image_syncer.state.database_url import DatabaseLocation, SqliteFile
from image_syncer.state.engines import writing
from image_syncer.state.errors import translated
from image_syncer.state.revisions import VERSION_TABLE
from image_syncer.state.sqlite_file import check_revision, prepare_file, warn_if_readable

MIGRATION_LOCK: Final = 0x696D6167
"""PostgreSQL's advisory lock for the migrations of state and jobs, held until the transaction ends."""

_WAIT_SECONDS: Final = 60  # for the migration of another process
_MIGRATION_SECONDS: Final = 600

VERSION: Final = Table(  # As Alembic creates it.
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""The table with the revision of the schema."""


def prepare(engine: Engine, location: DatabaseLocation) -> None:
    """Create or migrate the schema; `StateUnusable` if it is another program's or newer than this version."""
    is_current = False
    if isinstance(location, SqliteFile):
        is_current = prepare_file(location)
        warn_if_readable(location.path)
    if is_current:
        with engine.connect() as connection, connection.begin():
            return  # From now on the engine notices if another file takes the place of this one.
    try:
        with engine.connect() as connection, writing(connection).begin():
            # On SQLite the write transaction is the lock.
            if not isinstance(location, SqliteFile):
                _take_lock(connection)
            if not check_revision(_revision(connection), location):
                _upgrade(connection)
    except SQLAlchemyError as error:
        raise translated(error, str(location)) from error


def _take_lock(connection: Connection) -> None:
    for name, seconds in (("lock_timeout", _WAIT_SECONDS), ("statement_timeout", _MIGRATION_SECONDS)):
        connection.execute(select(func.set_config(name, f"{seconds}s", True)))  # noqa: FBT003 - local to the transaction
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def _upgrade(connection: Connection) -> None:
    # A slow import, which a file needs only after an upgrade.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    """Return the schema's revision, None for an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(VERSION.c.version_num)).scalar_one_or_none()
