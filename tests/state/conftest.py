"""A state of the test's own, once in a SQLite file and once in PostgreSQL."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.state import State, open_state
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty state."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
async def state(state_url: str) -> AsyncGenerator[State]:
    """An open state."""
    async with open_state(state_url) as opened:
        yield opened
