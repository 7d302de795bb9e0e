"""A state file by the standard library alone, as one-shot runs use it: durable, private, bounded, and quick to open."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from image_syncer.cache.backend import BlobRecord
from image_syncer.state import StateUnavailable, StateUnusable, open_cache_backend, open_state
from image_syncer.state.database_url import SqliteFile
from image_syncer.state.revisions import REVISIONS
from image_syncer.state.sql_session import SqlSession
from image_syncer.state.sqlite_database import open_sqlite_database
from state.hints import HERE, KEEP, TO_REVISION_0007, digest

INSERT = "INSERT INTO image_syncer_claimers (holder, seen_at, shares) VALUES (:holder, 0, 0)"
COUNT = "SELECT count(*) FROM image_syncer_claimers"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a state that does not exist yet."""
    return tmp_path / "state.db"


def execute(file: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements from outside and return the rows of the last one."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


async def note_blob(file: Path) -> None:
    """Write a blob location as a run does."""
    async with open_cache_backend(str(file), keep=KEEP) as backend:
        await backend.write([BlobRecord(HERE, digest("a"))], tidy=True)
        assert await backend.holders("target.test", [digest("a"), digest("b")]) == {digest("a"): HERE}


RUN = """
import asyncio, sys
from datetime import timedelta
from image_syncer.cache.backend import BlobRecord
from image_syncer.oci import Digest, Repository
from image_syncer.state import open_cache_backend

async def run():
    digest = Digest.of(b"a")
    async with open_cache_backend(sys.argv[1], keep=timedelta(days=30)) as backend:
        await backend.write([BlobRecord(Repository("target.test", "app"), digest)], tidy=True)
        assert await backend.holders("target.test", [digest])

asyncio.run(run())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sqlalchemy", "alembic", "structlog", "psycopg"}))
"""


def test_a_run_with_a_state_imports_neither_sqlalchemy_nor_alembic(file: Path) -> None:
    """Neither the run that creates the tables nor the next one; the imports take longer than a small copy."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", RUN, str(file)], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_a_daemon_and_a_run_use_one_file(file: Path) -> None:
    """Either creates it, and the other one opens it as it is."""
    await note_blob(file)
    async with open_state(str(file)) as state, open_cache_backend(str(file), keep=KEEP) as backend:
        await state.check_writable()
        assert await backend.holders("target.test", [digest("a")]) == {digest("a"): HERE}


async def test_a_file_of_an_older_version_is_migrated(file: Path) -> None:
    """Its rows stay."""
    await note_blob(file)
    execute(file, *TO_REVISION_0007)
    async with open_cache_backend(str(file), keep=KEEP) as backend:
        assert await backend.holders("target.test", [digest("a")]) == {digest("a"): HERE}
        await backend.announce(())
    assert execute(file, "SELECT version_num FROM image_syncer_version") == [(REVISIONS[-1],)]


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(file: Path) -> None:
    """An older image-syncer must not write into tables that it does not know."""
    await note_blob(file)
    execute(file, "UPDATE image_syncer_version SET version_num = '9999'")
    with pytest.raises(StateUnusable, match=r"newer image-syncer \(schema '9999'"):
        await note_blob(file)


async def test_the_database_of_another_program_is_refused_and_left_alone(file: Path) -> None:
    """Its journal stays as well."""
    execute(file, "CREATE TABLE precious (x)")
    before = await asyncio.to_thread(file.read_bytes)
    with pytest.raises(StateUnusable, match="another program"):
        await note_blob(file)
    assert await asyncio.to_thread(file.read_bytes) == before


async def test_a_damaged_file_is_refused(file: Path) -> None:
    """With a remedy; the file is not overwritten."""
    await asyncio.to_thread(file.write_bytes, b"version: 1\n" * 1000)
    with pytest.raises(StateUnusable, match=r"damaged: file is not a database.*move it"):
        await note_blob(file)
    assert await asyncio.to_thread(file.read_bytes) == b"version: 1\n" * 1000


async def test_eight_runs_that_start_together_create_one_schema(file: Path) -> None:
    """Whichever comes first; the others wait for it."""
    await asyncio.gather(*(note_blob(file) for _ in range(8)))
    assert execute(file, "SELECT count(*) FROM image_syncer_blobs") == [(1,)]


async def test_commits_are_durable_and_the_file_is_private(file: Path) -> None:
    """The directory is created, readers and the writer do not block each other, and a commit survives a power cut."""
    nested = file.parent / "deep" / "er" / "state.db"
    async with open_sqlite_database(SqliteFile(nested), patience=10) as database:
        for call in (database.read_sql, database.write_sql):
            settings = await call(
                lambda session: [
                    session.rows(f"PRAGMA {name}", {})[0][0]
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                ]
            )
            assert settings == ["wal", 2, 1, 5000]
    assert stat.S_IMODE(nested.stat().st_mode) == 0o600


async def test_a_file_that_others_can_read_is_a_warning(file: Path) -> None:
    """In the log, or wherever the caller wants it."""
    os.close(os.open(file, os.O_CREAT, 0o600))
    os.chmod(file, 0o644)  # noqa: PTH101 - a fixture's file
    warnings: list[str] = []
    with capture_logs() as logged:
        await note_blob(file)
        async with open_cache_backend(str(file), keep=KEEP, warn=warnings.append):
            pass
    assert [(entry["event"], entry["mode"]) for entry in logged] == [("state.readable_by_others", "0644")]
    assert warnings == [f"state {file}: other users can read the file, which names private images (chmod 600 {file})"]


async def test_a_transaction_that_fails_changes_nothing(file: Path) -> None:
    """The next one succeeds."""

    def fail(session: SqlSession) -> None:
        session.change(INSERT, {"holder": "a"})
        raise ZeroDivisionError

    async with open_sqlite_database(SqliteFile(file), patience=10) as database:
        with pytest.raises(ZeroDivisionError):
            await database.write_sql(fail)
        assert await database.write_sql(lambda session: session.change(INSERT, {"holder": "b"})) == 1
        assert await database.read_sql(
            lambda session: session.rows("SELECT holder FROM image_syncer_claimers", {})
        ) == [("b",)]


async def test_a_mistake_in_a_statement_is_no_failure_of_the_file(file: Path) -> None:
    """It is reported as the mistake that it is."""
    async with open_sqlite_database(SqliteFile(file), patience=10) as database:
        await database.write_sql(lambda session: session.change(INSERT, {"holder": "a"}))
        with pytest.raises(sqlite3.IntegrityError):
            await database.write_sql(lambda session: session.change(INSERT, {"holder": "a"}))


async def test_a_write_whose_caller_was_cancelled_is_not_committed(file: Path) -> None:
    """Its caller reports a failure."""
    written, go_on = threading.Event(), threading.Event()

    def write(session: SqlSession) -> None:
        session.change(INSERT, {"holder": "a"})
        written.set()
        go_on.wait(10)

    async with open_sqlite_database(SqliteFile(file), patience=10) as database:
        caller = asyncio.create_task(database.write_sql(write))
        await asyncio.to_thread(written.wait, 10)
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        go_on.set()
        assert await database.write_sql(lambda session: session.rows(COUNT, {})) == [(0,)]


async def test_a_call_takes_no_longer_than_its_timeout(file: Path) -> None:
    """A slow disk delays a run, but does not stop it; the write is not committed later."""
    go_on = threading.Event()

    def write(session: SqlSession) -> None:
        session.change(INSERT, {"holder": "a"})
        go_on.wait(10)

    async with open_sqlite_database(SqliteFile(file), patience=0.2) as database:
        with pytest.raises(StateUnavailable, match="no answer within"):
            await database.write_sql(write)
        assert await database.read_sql(lambda session: session.rows(COUNT, {})) == [(0,)]
        go_on.set()
    assert execute(file, COUNT) == [(0,)]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_file_that_was_removed_is_not_created_again(begun: bool, file: Path) -> None:
    """Neither before the first call nor later: the rows would be in no state that another process opens."""
    async with open_sqlite_database(SqliteFile(file), patience=10) as database:
        if begun:
            await database.write_sql(lambda session: session.rows(COUNT, {}))
        await asyncio.to_thread(file.unlink)
        for call in (database.read_sql, database.write_sql):
            with pytest.raises(StateUnavailable, match="while in use"):
                await call(lambda session: session.rows(COUNT, {}))
        assert not await asyncio.to_thread(file.exists)


async def test_old_rows_are_removed_at_the_end_of_a_run(file: Path) -> None:
    """In the file of a one-shot run too, once an earlier run shows that the clock is right."""
    async with open_cache_backend(str(file), keep=timedelta(days=30)) as backend:
        await backend.write([BlobRecord(HERE, digest("a"))], tidy=True)
    execute(file, "UPDATE image_syncer_blobs SET seen_at = 0")
    hour = 3_600_000_000
    execute(file, f"UPDATE image_syncer_clock_looks SET seen_at = seen_at - {hour}, uptime = uptime - {hour}")
    async with open_cache_backend(str(file), keep=timedelta(days=30)) as backend:
        await backend.write([BlobRecord(HERE, digest("b"))], tidy=True)
    assert execute(file, "SELECT digest FROM image_syncer_blobs") == [(str(digest("b")),)]
