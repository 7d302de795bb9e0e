"""Both stores of jobs: a SQLite file, and a database in PostgreSQL."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.jobs import JobQueue, open_jobs
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
async def jobs(url: str) -> AsyncGenerator[JobQueue]:
    """Return an empty queue in a store of each kind."""
    async with open_jobs(url) as opened:
        yield opened
