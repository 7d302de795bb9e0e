"""What holds for one of the stores only: files and their owners, databases and theirs, and who plays which query."""

import asyncio
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import procrastinate.sql
import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from procrastinate.schema import SchemaManager
from structlog.testing import capture_logs

from image_syncer.errors import UsageError
from image_syncer.jobs import CopyJob, JobFilter, JobStatus, JobsUnavailable, JobsUnusable, open_jobs
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.queries import QUERIES, SCHEMA
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.jobs.sqlite_queries import PLAIN, REFUSED, WITH_STEPS, SqliteTransaction
from image_syncer.jobs.sqlite_schema import APPLICATION_ID, MIGRATIONS
from image_syncer.structs import replace
from jobs.workbench import QUICK, Hands, eventually, queued, wanted, working
from support.postgres import Postgres


def test_sqlite_implements_or_refuses_every_query_of_the_pinned_procrastinate() -> None:
    """A release with a new query fails here instead of in a daemon."""
    ours = [*PLAIN, *WITH_STEPS, *REFUSED]
    assert sorted(ours) == sorted([*procrastinate.sql.queries, *QUERIES])


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_query_on_sqlite_takes_no_argument_that_postgresql_does_not_get(name: str) -> None:
    """Both texts of a query take the same arguments, so neither can break when the other changes."""
    theirs = (procrastinate.sql.queries | dict(QUERIES))[name]
    assert set(re.findall(r"[^:]:(\w+)", PLAIN[name])) - {"now"} <= set(re.findall(r"%\((\w+)\)s", theirs))


async def test_a_refused_query_is_named(tmp_path: Path) -> None:
    """A call of Procrastinate that the connector does not support fails with its name."""
    connector = SqliteConnector(tmp_path / "jobs.db")
    await connector.open_async()
    with pytest.raises(ConnectorException, match="finish_job is not implemented on SQLite"):
        await connector.execute_query_async(procrastinate.sql.queries["finish_job"], job_id=1)
    await connector.close_async()


def objects(file: Path) -> set[tuple[str, str]]:
    """Return the tables, indexes and triggers of a file."""
    with closing(sqlite3.connect(file)) as database:
        return set(database.execute("SELECT type, name FROM sqlite_master"))


async def test_a_file_of_version_1_gets_indexes_and_counters(tmp_path: Path) -> None:
    """The jobs of an older version are counted, and the schema is that of a new file."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(sqlite3.connect(old)) as database:
        database.executescript(f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
        for status, count in (("todo", 3), ("failed", 2)):
            values = [(f"{status}{number}", status) for number in range(count)]
            database.executemany(
                "INSERT INTO jobs (queue_name, task_name, priority, lock, args, status)"
                " VALUES ('q', 'copy', 0, ?, '{}', ?)",
                values,
            )
        database.execute("INSERT INTO notes VALUES (4, 'no', 1)")
        database.commit()
    async with open_jobs(str(old)) as jobs, open_jobs(str(new)):
        found = {status: count for status, count in (await jobs.counts()).items() if count}
    assert found == {JobStatus.WAITING: 3, JobStatus.FAILED: 1, JobStatus.SUPERSEDED: 1}
    assert objects(old) == objects(new)


async def test_processes_that_migrate_together_migrate_once(tmp_path: Path) -> None:
    """The version is read again under the lock."""
    file = tmp_path / "jobs.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    connectors = [SqliteConnector(file) for _ in range(8)]
    await asyncio.gather(*(connector.open_async() for connector in connectors))
    await asyncio.gather(*(connector.close_async() for connector in connectors))


async def test_a_database_of_version_1_is_upgraded(postgres: Postgres) -> None:
    """Its jobs are fetched by the new function."""
    url = postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute(SchemaManager.get_schema())
        connection.execute(SCHEMA)
    hands = Hands()
    async with open_jobs(url) as jobs:
        await jobs.request_copy(wanted())
        async with working(jobs, hands):
            await eventually(lambda: len(hands.ended) == 1)
    async with open_jobs(url) as jobs:
        assert (await jobs.counts())[JobStatus.SUCCEEDED] == 1


async def test_the_counters_follow_every_change(tmp_path: Path) -> None:
    """They equal a count of all rows after retries, cancellations, merged retries and the removal of old jobs."""
    file = tmp_path / "jobs.db"

    async def fail(job: CopyJob) -> None:
        await jobs.request_copy(wanted(str(job.source).partition("/")[2]))  # A successor: the retry is superseded.
        raise ConnectionError

    async with open_jobs(str(file)) as jobs:
        ids = [await queued(jobs, wanted(f"app:{number}")) for number in range(6)]
        await jobs.cancel(ids[0])
        async with working(jobs, Hands(fail), replace(QUICK, concurrency=2)):
            await eventually(lambda: counted(file).get("superseded", 0) >= 5)
        assert counters(file) == counted(file)
        await jobs.retry(ids[1])
        await jobs.retry(ids[0])
        assert counters(file) == counted(file)
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("DELETE FROM jobs WHERE status = 'failed'")
            database.commit()
        assert counters(file) == counted(file)


def counted(file: Path) -> dict[str, int]:
    """Return the number of jobs by status, counted row by row."""
    with closing(sqlite3.connect(file)) as database:
        return dict(database.execute("SELECT status, count(*) FROM job_views GROUP BY status").fetchall())


def counters(file: Path) -> dict[str, int]:
    """Return the number of jobs by status that the triggers maintain."""
    with closing(sqlite3.connect(file)) as database:
        return dict(database.execute("SELECT status, count FROM counts WHERE count <> 0").fetchall())


@pytest.mark.parametrize(
    "filtered",
    [
        JobFilter(rule="app"),
        JobFilter(lock="target a.example/app:1"),
        *(JobFilter(frozenset({status}), rule=rule) for status in JobStatus for rule in (None, "app")),
    ],
)
async def test_a_list_of_jobs_reads_an_index_and_not_every_job(tmp_path: Path, filtered: JobFilter) -> None:
    """No table is scanned, so a million jobs take as long as a thousand."""
    async with open_jobs(str(tmp_path / "jobs.db")):
        pass
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        executed: list[str] = []
        database.set_trace_callback(executed.append)
        SqliteTransaction(database, 0.0).execute("view_jobs", filtered.to_arguments())
        database.set_trace_callback(None)
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {executed[-1]}")]
    # The partial index of superseded jobs holds those alone.
    assert not [step for step in plan if re.match(r"SCAN (j|jobs|n|notes|events)\b(?!.*notes_superseded)", step)], plan


async def test_a_file_has_one_worker_and_the_next_starts_when_that_has_ended(tmp_path: Path) -> None:
    """Restarts may overlap: the new worker waits, and neither fails nor takes the jobs of the old one."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with open_jobs(url) as one, open_jobs(url) as two:
        async with working(one, Hands()):
            await eventually(lambda: one.is_worker_alive)
            async with working(two, Hands()):
                await asyncio.sleep(0.5)
                assert not two.is_worker_alive
        async with working(two, Hands()):
            await eventually(lambda: two.is_worker_alive)


async def test_a_restart_on_a_file_waits_for_no_heartbeat(tmp_path: Path) -> None:
    """Under the lock, running jobs belong to a dead process, so they are queued again at once."""
    connector = SqliteConnector(tmp_path / "jobs.db")
    async with open_jobs(str(tmp_path / "jobs.db")) as jobs:
        await jobs.request_copy(wanted())
        await connector.open_async()
        keeper = FencedJobManager(connector, patience=1.0)
        assert await keeper.fetch_job(None, await keeper.register_worker()) is not None
        await connector.close_async()
        hands = Hands()
        async with working(jobs, hands, replace(QUICK, stalled=60.0)):
            await eventually(lambda: hands.ended, seconds=3)


async def test_other_processes_may_request_jobs_while_a_worker_has_the_file(tmp_path: Path) -> None:
    """They need no lock, and the worker finds their requests at its next poll."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    hands = Hands()
    async with open_jobs(url) as one, open_jobs(url) as two, working(one, hands):
        await two.request_copy(wanted())
        await eventually(lambda: hands.ended, seconds=3)


async def test_the_file_is_synchronised_with_every_commit(tmp_path: Path) -> None:
    """Acknowledged jobs survive a power cut, and only the owner can read the file."""
    async with open_jobs(f"sqlite:///{tmp_path}/new/jobs.db"):
        with closing(sqlite3.connect(tmp_path / "new/jobs.db")) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert stat.S_IMODE((tmp_path / "new/jobs.db").stat().st_mode) == 0o600


async def test_the_file_of_another_program_is_not_changed(tmp_path: Path) -> None:
    """A wrong path must not add tables to it."""
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(UsageError, match="another program"):
        async with open_jobs(f"sqlite:///{tmp_path}/theirs.db"):
            pass


async def test_the_file_of_a_newer_version_is_not_changed(tmp_path: Path) -> None:
    """A downgrade is refused before it can damage anything."""
    path = tmp_path / "jobs.db"
    async with open_jobs(str(path)):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="newer"):
        async with open_jobs(str(path)):
            pass


async def test_the_database_of_another_procrastinate_is_not_changed(postgres: Postgres) -> None:
    """Its jobs must not run here."""
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SchemaManager.get_schema())
    with pytest.raises(UsageError, match="another program"):
        async with open_jobs(url):
            pass


async def test_the_database_of_a_newer_version_is_not_changed(postgres: Postgres) -> None:
    """A downgrade is refused before it can damage anything."""
    url = postgres.new_database()
    async with open_jobs(url):
        pass
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE image_syncer_job_schema SET version = 99")
    with pytest.raises(UsageError, match="newer"):
        async with open_jobs(url):
            pass


async def test_an_unreachable_server_is_reported_without_the_password() -> None:
    """The message has place and reason."""
    with pytest.raises(JobsUnavailable) as trouble:
        async with open_jobs("postgresql://someone:hunter2@127.0.0.1:1/jobs"):
            pass
    assert "127.0.0.1" in str(trouble.value)
    assert "hunter2" not in str(trouble.value)


async def test_postgresql_commits_each_statement_by_itself(postgres: Postgres) -> None:
    """A worker that is paused between two round trips blocks no other: no transaction stays open."""
    url = postgres.new_database()
    async with open_jobs(url) as jobs, working(jobs, Hands()):
        await eventually(lambda: jobs.is_worker_alive)
        await jobs.request_copy(wanted())
        with psycopg.connect(url, autocommit=True) as other:
            states = other.execute(
                "SELECT state FROM pg_stat_activity WHERE application_name = 'image-syncer jobs'"
            ).fetchall()
    assert {state for (state,) in states} <= {"idle", "active"}


@pytest.mark.parametrize("content", [b"this is no database, but long enough to be taken for one" * 20, None])
async def test_a_damaged_file_is_unusable(tmp_path: Path, content: bytes | None) -> None:
    """It is reported like a damaged state: exit code 2, with what to move away."""
    file = tmp_path / "jobs.db"
    if content is None:
        async with open_jobs(str(file)) as jobs:
            await queued(jobs, wanted())
        content = file.read_bytes()
        content = content[:4096] + b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(JobsUnusable, match="the file is damaged") as error:
        async with open_jobs(str(file)) as jobs:
            await jobs.list()
    assert "-wal" in (error.value.remedy or "")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 1), (0o604, 1)])
async def test_a_file_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, warned: int) -> None:
    """It names private images; the remedy is the command."""
    file = tmp_path / "jobs.db"
    file.touch()
    file.chmod(mode)
    with capture_logs() as logged:
        async with open_jobs(str(file)):
            pass
    warnings = [entry for entry in logged if entry["event"] == "state.readable_by_others"]
    assert [entry["remedy"] for entry in warnings] == [f"chmod 600 {file}"] * warned
