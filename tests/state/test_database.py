"""Opening, migrating, sharing and losing the database."""

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, delete
from structlog.testing import capture_logs

from image_syncer.errors import UsageError
from image_syncer.state import (
    EventStatus,
    NewEvent,
    State,
    StateUnavailable,
    StateUnusable,
    migrate,
    migrations,
    open_state,
)
from image_syncer.state.database_url import SqliteFile, parse_database_url
from image_syncer.state.engines import make_engine, writing
from image_syncer.state.executor import WAITING_LIMIT
from image_syncer.state.revisions import REVISIONS, VERSION_TABLE
from image_syncer.state.tables import events, metadata
from state.hints import TO_REVISION_0007
from state_schema import schema
from support.postgres import PASSWORD, Postgres

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EVENT = NewEvent("harbor", "harbor.test/team/app", "1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a SQLite state that does not exist yet."""
    return tmp_path / "state.db"


@pytest.fixture
def outage(postgres: Postgres) -> Generator[Postgres]:
    """The PostgreSQL server, which may be stopped: it runs again afterwards."""
    yield postgres
    postgres.stop()
    postgres.start()


def execute(file: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on a connection of their own and return the rows of the last one."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def cut(file: Path, *, keep: int) -> None:
    """Leave only the first *keep* bytes of a file."""
    file.write_bytes(file.read_bytes()[:keep])


def move(file: Path) -> None:
    """Remove the file while it is open."""
    file.rename(file.with_suffix(".away"))


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    """Each migration is in the list that recognises a newer database."""
    script = ScriptDirectory(str(Path(migrations.__path__[0])))
    assert tuple(found.revision for found in script.walk_revisions())[::-1] == REVISIONS


async def test_the_migrations_make_the_tables_that_the_code_uses(state: State) -> None:
    """Both databases have the same columns."""

    def differences(connection: object) -> list[object]:
        options = {"version_table": VERSION_TABLE, "compare_type": False}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))  # pyright: ignore[reportArgumentType] - a Connection

    assert await state.database.read(differences) == []


async def test_a_new_file_equals_a_migrated_one(file: Path) -> None:
    """A new file is created directly, which is faster; later versions migrate either."""
    async with open_state(str(file)):
        pass
    migrated = file.with_name("migrated.db")
    await asyncio.to_thread(migrate_new_file, migrated)
    assert shape(file) == shape(migrated)
    assert len(shape(file)) > len(metadata.tables)  # Indexes, and the table of the version.


def migrate_new_file(file: Path) -> None:
    """Create the tables by running every migration."""
    engine = make_engine(SqliteFile(file))
    with closing_engine(engine), engine.connect() as connection, writing(connection).begin():
        vars(migrate)["_upgrade"](connection)


@contextmanager
def closing_engine(engine: Engine) -> Generator[None]:
    """Close the connections of *engine* at the end."""
    try:
        yield
    finally:
        engine.dispose()


def test_the_file_with_the_schema_matches_the_tables() -> None:
    """A new file is created from it, without SQLAlchemy."""
    text = (Path(migrate.__file__).parent / "schema.sql").read_text(encoding="utf-8")
    assert text == schema(), "run: python tools/state_schema.py > src/image_syncer/state/schema.sql"


def shape(file: Path) -> dict[str, object]:
    """Return every table and index of *file* with all that SQLite knows of it, in no order of columns."""
    found: dict[str, object] = {}
    everything = "SELECT type, name, sql LIKE '%AUTOINCREMENT%' FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    for kind, name, counts_up in execute(file, everything):
        pragmas = ("table_info", "foreign_key_list", "index_list") if kind == "table" else ("index_xinfo",)
        # The first column of each answer is a number that follows the order of the columns.
        found[f"{kind} {name}"] = (
            counts_up,
            [sorted(str(row[1:]) for row in execute(file, f"PRAGMA {pragma}('{name}')")) for pragma in pragmas],
        )
    return found


async def test_a_file_of_an_older_version_counts_the_events_it_has(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggers are those of a new file, and what was recorded before them is counted."""
    async with open_state(str(file)) as state:
        await state.events.record([EVENT, EVENT], now=NOW)
    names = [name for (name,) in execute(file, "SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    execute(file, *(f"DROP TRIGGER {name}" for name in names), "DROP TABLE image_syncer_event_counts")
    execute(file, *TO_REVISION_0007)
    later_indexes = "", "_outcome", "_rule"
    for name in ("events_by_waiting", *(f"results_by_latest{suffix}" for suffix in later_indexes)):
        execute(file, f"DROP INDEX image_syncer_{name}")
    execute(file, "CREATE INDEX image_syncer_results_by_latest ON image_syncer_results (latest, id)")
    execute(file, "UPDATE image_syncer_version SET version_num = '0006'")
    async with open_state(str(file)) as state:
        await state.events.record([EVENT], now=NOW)
        assert (await state.events.count_by_status()).counts == {("harbor", EventStatus.RECEIVED): 3}
    new = file.with_name("new.db")
    async with open_state(str(new)):
        pass
    assert trigger_texts(file) == trigger_texts(new)


def trigger_texts(file: Path) -> list[str]:
    """Return the triggers of *file* without their layout."""
    return [
        " ".join(str(sql).split()) for (sql,) in execute(file, "SELECT sql FROM sqlite_master WHERE type = 'trigger'")
    ]


async def test_a_state_is_opened_again_as_it_was(empty_url: str) -> None:
    """The second start migrates nothing and loses nothing."""
    for number in range(3):
        async with open_state(empty_url) as state:
            assert await state.events.count_pending() == number
            await state.events.record([EVENT], now=NOW)


async def test_eight_processes_that_start_together_create_one_schema(empty_url: str) -> None:
    """As in the rollout of a fleet, or with a daemon and the command line."""

    async def start() -> None:
        async with open_state(empty_url) as state:
            await state.events.record([EVENT], now=NOW)

    await asyncio.gather(*(start() for _ in range(8)))
    async with open_state(empty_url) as state:
        assert await state.events.count_pending() == 8


async def test_the_file_is_durable_and_only_its_owners(file: Path) -> None:
    """WAL with FULL: acknowledged writes survive a power cut. The directory is created."""
    nested = file.parent / "deep" / "er" / "state.db"
    async with open_state(str(nested)) as state:
        settings = await state.database.read(
            lambda connection: [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        )
    assert settings == ["wal", 2, 1, 5000]
    assert stat.S_IMODE(nested.stat().st_mode) == 0o600


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 1), (0o604, 1)])
async def test_a_file_that_others_can_read_is_a_warning(file: Path, mode: int, warned: int) -> None:
    """It names private images and addresses of uploads; the remedy is the command."""
    os.close(os.open(file, os.O_CREAT, 0o600))
    os.chmod(file, mode)  # noqa: PTH101 - a fixture's file
    with capture_logs() as logged:
        async with open_state(str(file)):
            pass
    warnings = [entry for entry in logged if entry["event"] == "state.readable_by_others"]
    assert [(entry["mode"], entry["remedy"]) for entry in warnings] == [(f"{mode:04o}", f"chmod 600 {file}")] * warned


async def test_postgresql_commits_to_the_disk_whatever_its_default(postgres: Postgres) -> None:
    """A server that acknowledges early would lose acknowledged events in a crash."""
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    try:
        async with open_state(url) as state:
            shown = await state.database.write(
                lambda connection: [
                    connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                    for name in ("synchronous_commit", "statement_timeout", "lock_timeout")
                ]
            )
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")
    assert shown == ["on", "10s", "5s"]


async def test_a_database_of_a_future_version_is_refused_and_left_alone(state_url: str) -> None:
    """An older image-syncer does not write into a newer schema."""
    async with open_state(state_url) as state:
        await state.database.write(
            lambda connection: connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        )
    with pytest.raises(StateUnusable, match=rf"newer image-syncer \(schema '9999', this one knows '{REVISIONS[-1]}'\)"):
        async with open_state(state_url):
            pass


async def test_the_database_of_another_program_is_refused(file: Path) -> None:
    """With a wrong path, no tables are added to the database of another program."""
    execute(file, "CREATE TABLE precious (x)")
    with pytest.raises(StateUnusable, match="another program"):
        async with open_state(str(file)):
            pass
    assert execute(file, "SELECT name FROM sqlite_master") == [("precious",)]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    """A remedy is named, and nothing is overwritten."""
    await asyncio.to_thread(file.write_bytes, b"version: 1\n" * 1000)
    with pytest.raises(StateUnusable, match=r"damaged: file is not a database.*move it"):
        async with open_state(str(file)):
            pass
    assert await asyncio.to_thread(file.read_bytes) == b"version: 1\n" * 1000


@pytest.mark.parametrize("keep", [50, 1000, 4096, 20000, 40000])
async def test_a_truncated_file_is_refused(file: Path, keep: int) -> None:
    """After a full disk or a broken copy: one line and a remedy."""
    async with open_state(str(file)) as state:
        await state.events.record([EVENT] * 500, now=NOW)
    await asyncio.to_thread(cut, file, keep=keep)
    with pytest.raises(StateUnusable, match="the file is damaged"):
        async with open_state(str(file)):
            pass


async def test_two_processes_write_to_one_file(file: Path) -> None:
    """The daemon and a one-shot run at the same time."""
    async with open_state(str(file)) as daemon, open_state(str(file)) as command:
        await asyncio.gather(*(one.events.record([EVENT], now=NOW) for one in (daemon, command) * 50))
        assert await command.events.count_pending() == 100


@pytest.mark.slow
async def test_a_locked_file_is_unavailable_in_bounded_time(file: Path) -> None:
    """No write succeeds meanwhile; afterwards the state works again."""
    async with open_state(str(file)) as state:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(8):
                with pytest.raises(StateUnavailable, match="database is locked") as failure:
                    await state.events.record([EVENT], now=NOW)
            assert failure.value.retryable
            assert await state.events.count_pending() == 0
            other.execute("COMMIT")
        assert await state.events.record([EVENT], now=NOW)


async def test_a_removed_file_accepts_no_write(file: Path) -> None:
    """A write to a file without a name would be lost with the process."""
    async with open_state(str(file)) as state:
        await state.events.record([EVENT], now=NOW)
        await asyncio.to_thread(move, file)
        with pytest.raises(StateUnavailable, match="while in use"):
            await state.events.record([EVENT], now=NOW)


async def test_too_many_waiting_calls_are_refused_at_once(file: Path) -> None:
    """A flood becomes 503, not a growing queue in memory."""
    async with open_state(str(file)) as state:
        calls = (state.events.record([EVENT], now=NOW) for _ in range(WAITING_LIMIT + 20))
        done = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in done if isinstance(one, StateUnavailable)]
        assert len(refused) == 20
        assert await state.events.count_pending() == WAITING_LIMIT


async def test_a_failure_in_a_transaction_leaves_nothing(state: State) -> None:
    """All or nothing."""

    def fail(connection: object) -> None:
        del connection
        raise UsageError("no")

    with pytest.raises(UsageError):
        await state.database.write(fail)
    assert await state.events.record([EVENT], now=NOW)


async def test_a_write_whose_caller_gave_up_is_not_committed(state: State) -> None:
    """A webhook answers 503 then, so its events must not be recorded: the sender delivers them again."""
    written, go_on = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        connection.execute(delete(events))
        written.set()
        go_on.wait(10)

    [number] = await state.events.record([EVENT], now=NOW)
    caller = asyncio.create_task(state.database.write(write))
    await asyncio.to_thread(written.wait, 10)
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    go_on.set()
    await state.database.write(lambda _: None)  # It waits for the writer.
    assert [event.id for event in await state.events.list_pending()] == [number]


async def test_an_outage_of_the_server_is_survived(outage: Postgres) -> None:
    """While it is away nothing is accepted; when it is back the same state goes on."""
    async with open_state(outage.new_database()) as state:
        await state.events.record([EVENT], now=NOW)
        await asyncio.to_thread(outage.stop)
        for _ in range(3):
            with pytest.raises(StateUnavailable) as failure:
                await state.events.record([EVENT], now=NOW)
            assert PASSWORD not in repr(failure.value)
        await asyncio.to_thread(outage.start)
        await state.ping()
        await state.events.record([EVENT], now=NOW)
        assert await state.events.count_pending() == 2


@pytest.mark.slow
async def test_a_silent_server_blocks_neither_calls_nor_the_stop(outage: Postgres) -> None:
    """A frozen server keeps its connections and does not answer: calls time out."""
    url = outage.new_database()
    try:
        async with asyncio.timeout(12), open_state(url, patience=1) as state:
            await state.events.record([EVENT], now=NOW)
            outage.freeze()
            for _ in range(2):
                with pytest.raises(StateUnavailable):
                    await state.events.record([EVENT], now=NOW)
    finally:
        outage.thaw()
    async with open_state(url) as state:
        assert await state.events.count_pending() >= 1


async def test_a_full_disk_refuses_writes_without_damage(file: Path) -> None:
    """Once there is room again the same state goes on."""
    async with open_state(str(file)) as state:
        limit = "PRAGMA max_page_count = {}".format
        await state.database.write(lambda connection: connection.exec_driver_sql(limit(1)).scalar_one())
        with pytest.raises(StateUnavailable, match="full"):
            await state.events.record([EVENT] * 5000, now=NOW)
        await state.database.write(lambda connection: connection.exec_driver_sql(limit(10**6)).scalar_one())
        assert len(await state.events.record([EVENT] * 5000, now=NOW)) == 5000
        assert await state.events.count_pending() == 5000


async def test_an_unreachable_server_is_unavailable(outage: Postgres) -> None:
    """At the start too, so that the service may try again."""
    outage.stop()
    with pytest.raises(StateUnavailable, match="refused"):
        async with open_state(outage.url()):
            pass


async def test_a_missing_database_is_permanent(postgres: Postgres) -> None:
    """The error is final: no retry helps."""
    with pytest.raises(StateUnusable, match="nowhere"):
        async with open_state(postgres.url("nowhere")):
            pass


async def test_a_wrong_password_is_permanent_and_not_in_the_message(postgres: Postgres) -> None:
    """Exit code 2 with the remedy; the message has neither the right password nor the wrong one."""
    url = postgres.url().replace("owner:", "owner:s3cret")
    with pytest.raises(StateUnusable) as failure:
        async with open_state(url):
            pass
    assert "s3cret" not in str(failure.value)
    assert "check user, password" in str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:s3cret@h/d",
        "sqlite://s3cret/x",
        "sqlite:///:memory:",
        "postgresql://u:s3@cret@h:x/d",
        "postgresql://u:s3cret@h/d?x=y",
    ],
)
def test_an_invalid_url_is_refused_without_quoting_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(UsageError) as failure:
        parse_database_url(url)
    assert "cret" not in str(failure.value)


def test_the_name_of_a_location_has_no_password() -> None:
    """For messages and logs."""
    place = parse_database_url("postgresql://me:s3cret@db.test:5432/syncer?sslmode=require")
    assert str(place) == "state syncer at db.test"
    assert "s3cret" not in repr(place)
