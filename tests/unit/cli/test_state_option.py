"""`--state`: what is nonsense is said before anybody is contacted, and what is usual is quick."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from image_syncer.cli.state_option import OUR_ID, wanted_state
from image_syncer.config.model import Configuration, StateSettings
from image_syncer.errors import UsageError
from image_syncer.state import open_state
from image_syncer.state.migrate import APPLICATION_ID

NOTHING = Configuration((), ())


def database(path: Path, *statements: str) -> str:
    """Make a database and return its path."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return str(path)


async def make(path: Path) -> None:
    """Make a state."""
    async with open_state(str(path)):
        pass


def test_the_id_in_the_head_of_a_file_is_the_one_that_the_state_writes() -> None:
    """It stands twice, since the state is slow to import."""
    assert int.from_bytes(OUR_ID, "big") == APPLICATION_ID


def test_without_the_option_it_is_the_daemons_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The platform's directory, or what the file says."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert wanted_state(None, NOTHING) == str(tmp_path / "image-syncer" / "state.db")
    there = Configuration((), (), state=StateSettings(url="postgresql://me:s3cret@db.test/x"))
    assert wanted_state(None, there) == "postgresql://me:s3cret@db.test/x"
    assert wanted_state("none", there) is None


def test_a_file_may_be_named_in_every_way(tmp_path: Path) -> None:
    """Its directory is made when it is needed."""
    wanted = str(tmp_path / "deep" / "s.db")
    assert wanted_state(wanted, NOTHING) == wanted_state(f"sqlite:///{wanted}", NOTHING) == wanted
    assert wanted_state("postgresql://db.test/x", NOTHING) == "postgresql://db.test/x"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "state: a file is needed"),
        ("redis://me:s3cret@x/1", "state: the scheme is neither sqlite nor postgresql"),
        ("sqlite://s3cret/x", "state: a SQLite URL names no host"),
        ("postgresql://u:s3@cret@h:x/d", "state: the postgresql URL names no host"),
        ("/tmp", "--state /tmp: not a file"),
        ("/dev/null", "--state /dev/null: not a file"),
        ("~nobody-has-this-name/s.db", "nobody has that home directory"),
    ],
)
def test_nonsense_is_refused(given: str, message: str) -> None:
    """With what is wrong, and without a secret."""
    with pytest.raises(UsageError) as failure:
        wanted_state(given, NOTHING)
    assert message in str(failure.value)
    assert "cret" not in str(failure.value)


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """By its tables, or by its id."""
    tables = database(tmp_path / "a.db", "CREATE TABLE precious (x)")
    marked = database(tmp_path / "b.db", "PRAGMA application_id = 7", "PRAGMA user_version = 1")
    for path in (tables, marked):
        with pytest.raises(UsageError, match="a database of another program"):
            wanted_state(path, NOTHING)


async def test_ours_and_what_is_damaged_pass(tmp_path: Path) -> None:
    """A damaged state costs requests; the run says so once."""
    ours, damaged, empty = tmp_path / "ours.db", tmp_path / "damaged.db", tmp_path / "empty.db"
    async with open_state(str(ours)):
        assert wanted_state(str(ours), NOTHING) == str(ours)  # Its id is in the log of what was written only.
    assert wanted_state(str(ours), NOTHING) == str(ours)
    damaged.write_bytes(b"no database " * 100)
    empty.touch()
    for path in (damaged, empty):
        assert wanted_state(str(path), NOTHING) == str(path)


def test_to_know_our_own_file_takes_no_database_library(tmp_path: Path) -> None:
    """A run that needs no history is not slower for the option."""
    ours = tmp_path / "ours.db"
    asyncio.run(make(ours))
    program = (
        "import sys; from image_syncer.cli.state_option import wanted_state, Configuration;"
        "wanted_state(sys.argv[1], Configuration((), ())); wanted_state('new.db', Configuration((), ()));"
        "sys.exit('sqlalchemy' in sys.modules or 'psycopg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(ours)], check=True, timeout=30, cwd=tmp_path)
