"""An open state, once in a SQLite file and once in PostgreSQL, and the caches in it with and without SQLAlchemy."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.state import State, open_state
from image_syncer.state.database_url import SqliteFile
from image_syncer.state.sql_session import SqlDatabase
from image_syncer.state.sqlite_database import open_sqlite_database
from support.stores import KINDS, migrate_state, new_url


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return new_url(request, tmp_path / "state.db")


@pytest.fixture(params=KINDS)
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without rows; that of PostgreSQL has its tables already."""
    return new_url(request, tmp_path / "state.db", migrate_state)


@pytest.fixture
async def state(state_url: str) -> AsyncGenerator[State]:
    """An open state."""
    async with open_state(state_url) as opened:
        yield opened


@pytest.fixture(params=[*KINDS, "sqlite of a one-shot run"])
async def cache_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SqlDatabase]:
    """The database of the caches, as a daemon and as a one-shot run opens it."""
    if request.param in KINDS:
        async with open_state(new_url(request, tmp_path / "state.db", migrate_state)) as opened:
            yield opened.database
    else:
        async with open_sqlite_database(SqliteFile(tmp_path / "state.db"), patience=10.0) as database:
            yield database
