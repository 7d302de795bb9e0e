"""What is written of knowledge and history: by many at once, within bounds, and no secret."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select, update

from image_syncer.cache.backend import BlobRecord, FactRecord, FilteredRecord, UploadRecord, is_storable
from image_syncer.cache.persistent import for_run
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, HostFact, UploadCheckpoint
from image_syncer.state import State, StateCacheBackend, cache_tables, open_state
from image_syncer.state.tables import blobs, copies, host_facts, trimmed, uploads
from image_syncer.state.trusted_clock import Uptime
from state.hints import HERE, KEEP, digest, shelf

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ARM = PlatformFilter.parse([], ["arm64"])
TESTS = Path(__file__).parents[1]
SIGNED = "https://store.test/bucket/upload?X-Amz-Credential=a&X-Amz-Signature=s3cret"


class Clock:
    """The time, which is put forward by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def uptime(self) -> Uptime:
        """Return that the time passed, so that the clock is right."""
        return Uptime("boot", self.now - NOW + DAY)


async def rows(state: State, wanted: Any) -> list[tuple[object, ...]]:
    """Return what *wanted* selects."""
    return await state.database.read(lambda connection: [tuple(row) for row in connection.execute(wanted)])


async def count(state: State, table: Table) -> int:
    """Return how many rows there are."""
    return await state.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
    )


def confirmed(content: str, *, written: bool = False) -> ConfirmedCopy:
    """Return that the tag v1 named *content*."""
    source = Repository("source.test", "app").tag("v1")
    return ConfirmedCopy("app", source, digest(content), ARM, HERE.tag("v1"), digest(content), written)


async def test_processes_that_write_at_the_same_time_all_succeed(state_url: str) -> None:
    """Hundreds of transactions each, over the same rows and over their own: nothing is lost."""
    commands = [(sys.executable, "-m", "state.hints", state_url, name, "200") for name in ("a", "b")]
    started = [
        await asyncio.create_subprocess_exec(*command, cwd=TESTS, stderr=asyncio.subprocess.PIPE)
        for command in commands
    ]
    async with asyncio.timeout(100):
        ended = [(await process.communicate(), process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0], ended
    async with open_state(state_url) as state:
        assert await count(state, blobs) == 2 * 200 + 10


async def test_those_who_write_the_same_rows_crosswise_do_not_lock_each_other_out(state_url: str) -> None:
    """PostgreSQL would end one of them."""
    notes = [BlobRecord(HERE, digest(str(number))) for number in range(1000)]
    async with open_state(state_url) as one, open_state(state_url) as other:
        forth, back = StateCacheBackend(one.database, keep=KEEP), StateCacheBackend(other.database, keep=KEEP)
        for _ in range(5):
            await asyncio.gather(forth.write(notes, tidy=False), back.write(notes[::-1], tidy=False))
        assert await count(one, blobs) == 1000


async def test_what_nobody_saw_for_long_goes(state: State) -> None:
    """Blobs after 90 days, the rest after what is kept of runs; what is seen again stays."""
    clock = Clock()
    archive = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    begun = UploadCheckpoint("/upload/1", 5)
    notes = [
        BlobRecord(HERE, digest("a")),
        BlobRecord(HERE, digest("b")),
        FilteredRecord(digest("a"), ARM, digest("b")),
        confirmed("a"),
        UploadRecord(HERE, digest("a"), begun),
    ]
    await archive.write(notes, tidy=True)
    clock.now += 31 * DAY
    await archive.write([BlobRecord(HERE, digest("b"))], tidy=True)
    assert [await count(state, table) for table in (blobs, trimmed, copies, uploads)] == [2, 0, 0, 0]
    clock.now += 60 * DAY
    assert await archive.prune() == 1
    assert await archive.holders("target.test", [digest("a"), digest("b")]) == {digest("b"): HERE}


async def test_there_are_never_more_blobs_than_the_most(state: State) -> None:
    """The oldest go first, in steps."""
    clock = Clock()
    archive = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    for age in range(3):
        clock.now += timedelta(hours=1)
        await archive.write([BlobRecord(HERE, digest(f"{age}-{number}")) for number in range(700)], tidy=False)
    assert await archive.prune(most_blobs=800) == 1300
    left = await archive.holders("target.test", [digest(f"2-{number}") for number in range(700)])
    assert left is not None
    assert len(left) == 700


async def test_other_rules_of_trimming_make_old_notes_worthless(state: State) -> None:
    """They would name a digest that trimming no longer produces."""
    archive = StateCacheBackend(state.database, keep=KEEP)
    key = digest("index"), ARM
    await archive.write([FilteredRecord(*key, digest("left"))], tidy=False)
    assert await archive.filtered_digests([key]) == {key: digest("left")}
    await state.database.write(lambda connection: connection.execute(update(trimmed).values(trim_version=0)))
    assert await archive.filtered_digests([key]) == {}
    await archive.write([FilteredRecord(*key, digest("new"))], tidy=False)
    assert await archive.filtered_digests([key]) == {key: digest("new")}


async def test_when_we_wrote_a_target_is_kept_while_it_is_what_we_wrote(state: State) -> None:
    """Somebody else's image is never taken for ours."""
    clock = Clock()
    archive = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    wanted = select(copies.c.written_at, copies.c.confirmed_at, copies.c.first_seen_at)
    seen: list[tuple[object, ...]] = []
    for note in (confirmed("a"), confirmed("a", written=True), confirmed("a"), confirmed("b")):
        await archive.write([note], tidy=False)
        seen += await rows(state, wanted)
        clock.now += DAY
    written = NOW + DAY
    assert seen == [
        (None, NOW, NOW),
        (written, NOW + DAY, NOW),
        (written, NOW + 2 * DAY, NOW),
        (None, NOW + 3 * DAY, NOW),
    ]


async def test_a_fact_ends_at_its_time_whatever_the_clock_did(state: State) -> None:
    """It is neither used nor kept after that; one of the future, from a clock that was set back, is not used."""
    clock = Clock()
    archive = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    await archive.write([FactRecord("target.test", "plain_http", "yes", 3600.0)], tidy=True)
    clock.now += timedelta(minutes=59)
    assert await archive.host_facts("target.test") == {"plain_http": (HostFact("yes", NOW), 60.0)}
    clock.now = NOW - DAY
    assert await archive.host_facts("target.test") == {}
    clock.now = NOW + timedelta(minutes=61)
    assert await archive.host_facts("target.test") == {}
    assert await archive.prune() == 1
    assert await count(state, host_facts) == 0


async def test_there_are_never_more_facts_than_the_most(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that expire first go first."""
    monkeypatch.setattr(cache_tables, "MOST_FACTS", 2)
    archive = StateCacheBackend(state.database, keep=KEEP, now=Clock())
    facts = [FactRecord("target.test", f"key{number}", "yes", 60.0 + number) for number in range(5)]
    await archive.write(facts, tidy=True)
    assert sorted(await archive.host_facts("target.test")) == ["key3", "key4"]


async def test_what_was_confirmed_in_the_future_is_not_believed(state: State) -> None:
    """A clock that was put back would make it count for ever."""
    clock = Clock()
    archive = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    await archive.write([confirmed("a")], tidy=False)
    clock.now -= DAY
    assert await archive.target_digests(HERE, 3600) == {}


@pytest.mark.parametrize(
    "location",
    [
        SIGNED,
        "https://store.test/u?Expires=1&Signature=abc",
        "/u?sig=abc&se=2026",
        "/u?upload_token=abc",
        "/u?a=1&%58-Amz-Signature=abc",
        "https://user:password@store.test/u",
        "https://[::1/u",
    ],
)
def test_a_location_that_is_a_secret_is_known_as_one(location: str) -> None:
    """Who reads it could write to the registry without a login."""
    assert not is_storable(UploadCheckpoint(location, 0))


@pytest.mark.parametrize("location", ["/v2/app/blobs/uploads/1?_state=abc", "https://r.test/v2/a/blobs/uploads/1"])
def test_a_plain_location_is_kept(location: str) -> None:
    """It takes a login to use it."""
    assert is_storable(UploadCheckpoint(location, 0))


async def test_a_signed_location_stays_in_its_process(tmp_path: Path) -> None:
    """It takes the place of an older one, and does not reach the disk."""
    file = tmp_path / "state.db"
    async with for_run(shelf(str(file))) as memories:
        memories.uploads.record(HERE, digest("a"), UploadCheckpoint("/plain", 1))
        await memories.flush()
        memories.uploads.record(HERE, digest("a"), UploadCheckpoint(SIGNED, 2))
        await memories.flush()
        assert await memories.uploads.take(HERE, digest("a")) == UploadCheckpoint(SIGNED, 2)
    async with for_run(shelf(str(file))) as memories:
        assert await memories.uploads.take(HERE, digest("a")) is None
    written = await asyncio.to_thread(lambda: [path.read_bytes() for path in tmp_path.iterdir()])
    assert not any(b"s3cret" in content for content in written)
    assert "s3cret" not in repr(UploadCheckpoint(SIGNED, 2))
