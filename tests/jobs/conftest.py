"""An empty queue, once in a SQLite file and once in PostgreSQL."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.jobs import JobQueue, open_jobs
from support.stores import KINDS, new_url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return new_url(request, tmp_path / "jobs.db")


@pytest.fixture
async def jobs(url: str) -> AsyncGenerator[JobQueue]:
    """Return an empty queue in a store of each kind."""
    async with open_jobs(url) as opened:
        yield opened
