"""`--state`: a wrong value is refused before any request, and an ordinary one is fast."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from platformdirs import user_state_path

from image_syncer.cli.state_option import state_location
from image_syncer.config.locations import StateSettings
from image_syncer.errors import UsageError
from image_syncer.state import open_state

NOTHING = StateSettings()


def database(path: Path, *statements: str) -> str:
    """Create a database and return its path."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return str(path)


async def make(path: Path) -> None:
    """Create a state."""
    async with open_state(str(path)):
        pass


def test_the_default_is_the_state_of_the_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is in the platform's state directory, or where the file says."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_location(None, NOTHING) == str(tmp_path / "image-syncer" / "state.db")
    configured = StateSettings(url="postgresql://me:s3cret@db.test/x")
    assert state_location(None, configured) == "postgresql://me:s3cret@db.test/x"
    assert state_location("none", configured) is None


@pytest.mark.parametrize("configured", [None, "", "relative/state", "/var/lib/state", "~/state"])
def test_the_default_directory_is_that_of_the_platform(configured: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux has the XDG directories, without the library that knows every platform."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if configured is not None:
        monkeypatch.setenv("XDG_STATE_HOME", configured)
    monkeypatch.setenv("HOME", "/home/me")
    assert state_location(None, NOTHING) == str(user_state_path("image-syncer") / "state.db")


def test_a_path_and_a_sqlite_url_name_the_same_file(tmp_path: Path) -> None:
    """The directory need not exist yet."""
    wanted = str(tmp_path / "deep" / "s.db")
    assert state_location(wanted, NOTHING) == state_location(f"sqlite:///{wanted}", NOTHING) == wanted
    assert state_location("postgresql://db.test/x", NOTHING) == "postgresql://db.test/x"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "state: a file is needed"),
        ("redis://me:s3cret@x/1", "state: the scheme is neither sqlite nor postgresql"),
        ("sqlite://s3cret/x", "state: a SQLite URL names no host"),
        ("postgresql://u:s3@cret@h:x/d", "state: the postgresql URL names no host"),
        ("/tmp", "--state /tmp: not a file"),
        ("/dev/null", "--state /dev/null: not a file"),
        ("~unknown-user-name/s.db", "unknown home directory"),
    ],
)
def test_a_wrong_state_is_refused(given: str, message: str) -> None:
    """The error names the problem and shows no secret."""
    with pytest.raises(UsageError) as failure:
        state_location(given, NOTHING)
    assert message in str(failure.value)
    assert "cret" not in str(failure.value)


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """Its tables or its application id show it."""
    tables = database(tmp_path / "a.db", "CREATE TABLE precious (x)")
    marked = database(tmp_path / "b.db", "PRAGMA application_id = 7", "PRAGMA user_version = 1")
    for path in (tables, marked):
        with pytest.raises(UsageError, match="a database of another program"):
            state_location(path, NOTHING)


async def test_own_damaged_and_empty_files_pass(tmp_path: Path) -> None:
    """A run with a damaged state makes more requests and prints a warning."""
    own, damaged, empty = tmp_path / "own.db", tmp_path / "damaged.db", tmp_path / "empty.db"
    async with open_state(str(own)):
        assert state_location(str(own), NOTHING) == str(own)  # The id may be only in the write-ahead log yet.
    assert state_location(str(own), NOTHING) == str(own)
    damaged.write_bytes(b"no database " * 100)
    empty.touch()
    for path in (damaged, empty):
        assert state_location(str(path), NOTHING) == str(path)


def test_an_own_file_is_recognised_without_the_database_library(tmp_path: Path) -> None:
    """The option does not slow down a run that needs no history."""
    own = tmp_path / "own.db"
    asyncio.run(make(own))
    program = (
        "import sys; from image_syncer.cli.state_option import state_location, StateSettings;"
        "state_location(sys.argv[1], StateSettings()); state_location('new.db', StateSettings());"
        "sys.exit('sqlalchemy' in sys.modules or 'psycopg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(own)], check=True, timeout=30, cwd=tmp_path)
