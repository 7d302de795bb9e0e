"""Empty databases of both kinds, for tests that hold for each."""

from pathlib import Path
from typing import Final

import pytest

from support.postgres import Postgres

KINDS: Final = ("sqlite", "postgresql")
"""The parameters of a fixture that calls `new_url`."""


def new_url(request: pytest.FixtureRequest, file: Path) -> str:
    """Return the URL of an empty database of the kind in *request*: the SQLite *file*, or one in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{file}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()
