"""An open state, once in a SQLite file and once in PostgreSQL."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.state import State, open_state
from support.stores import KINDS, new_url


@pytest.fixture(params=KINDS)
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return new_url(request, tmp_path / "state.db")


@pytest.fixture
async def state(state_url: str) -> AsyncGenerator[State]:
    """An open state."""
    async with open_state(state_url) as opened:
        yield opened
