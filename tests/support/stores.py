"""Empty databases of both kinds, for tests that hold for each."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from image_syncer.state import open_state
from support.postgres import Postgres

KINDS: Final = ("sqlite", "postgresql")
"""The parameters of a fixture that calls `new_url`."""


def new_url(request: pytest.FixtureRequest, file: Path, fill: Callable[[str], None] | None = None) -> str:
    """Return the URL of an empty database of the kind in *request*: the SQLite *file*, or one in PostgreSQL.

    With *fill* the latter has what that puts into it; a file is filled quickly when it is opened.
    """
    if request.param == "sqlite":
        return f"sqlite:///{file}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database() if fill is None else server.new_database(server.template(fill))


def migrate_state(url: str) -> None:
    """Create the tables of a state, as a daemon does at its first start."""

    async def migrate() -> None:
        async with open_state(url):
            pass

    with ThreadPoolExecutor(1) as pool:  # The caller may be a coroutine.
        pool.submit(lambda: asyncio.run(migrate())).result()
