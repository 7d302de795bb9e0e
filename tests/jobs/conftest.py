"""Both stores of jobs: a SQLite file, and a PostgreSQL cluster of this session's own."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from image_syncer.jobs import Jobs, open_jobs
from jobs.cluster import Cluster, programs


@pytest.fixture(scope="session")
def cluster() -> Generator[Cluster]:
    """A PostgreSQL server."""
    binaries = programs()
    if binaries is None:
        pytest.skip("postgresql is not installed")
    with Cluster(binaries) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    running: Cluster = request.getfixturevalue("cluster")
    return running.new_database()


@pytest.fixture
async def jobs(url: str) -> AsyncGenerator[Jobs]:
    """Return an empty queue in a store of each kind."""
    async with open_jobs(url) as opened:
        yield opened
