"""Since when tags are public and when images were created, in a state that outlives processes."""

from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.cache.backend import CreatedRecord
from image_syncer.cache.persistent import for_run
from image_syncer.errors import Unavailable
from image_syncer.roles import Sighting
from image_syncer.state import State, StateCacheBackend
from image_syncer.state.sql_session import SqlDatabase
from image_syncer.state.trusted_clock import Uptime
from state.hints import HERE, KEEP, digest, shelf

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """The time, which is put forward by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def uptime(self) -> Uptime:
        """Return that the time passed, so that the clock is right."""
        return Uptime("boot", self.now - NOW)


async def test_the_first_time_stays(cache_database: SqlDatabase) -> None:
    """For each digest of a tag; other repositories and tags have their own."""
    backend = StateCacheBackend(cache_database, keep=KEEP)
    assert await backend.first_seen(HERE, ["v1", "v2"]) == {}
    assert await backend.record_first_seen(HERE, [Sighting("v1", digest("a"), NOW), Sighting("v2", digest("a"), NOW)])
    later = [Sighting("v1", digest("a"), NOW + DAY), Sighting("v1", digest("b"), NOW + DAY)]
    assert await backend.record_first_seen(HERE, later)
    assert await backend.first_seen(HERE, ["v1", "v3"]) == {"v1": {digest("a"): NOW, digest("b"): NOW + DAY}}


async def test_many_tags_are_read_in_few_statements(cache_database: SqlDatabase) -> None:
    """More than one statement takes."""
    backend = StateCacheBackend(cache_database, keep=KEEP)
    seen = [Sighting(f"v{number}", digest(str(number)), NOW) for number in range(1_200)]
    await backend.record_first_seen(HERE, seen)
    found = await backend.first_seen(HERE, [one.tag for one in seen])
    assert found == {one.tag: {one.digest: NOW} for one in seen}


async def test_the_digest_of_a_listed_tag_is_kept_for_ever(state: State) -> None:
    """Each day that a tag is read renews its newest digest; others go 400 days after they were last seen."""
    clock = Clock()
    backend = StateCacheBackend(state.database, keep=KEEP, now=clock, uptime=clock.uptime)
    old, new = Sighting("v1", digest("old"), NOW), Sighting("v1", digest("new"), NOW + DAY)
    await backend.record_first_seen(HERE, [old, new, Sighting("gone", digest("a"), NOW)])
    assert await backend.prune() == 0
    clock.now += 300 * DAY
    assert await backend.first_seen(HERE, ["v1"]) == {"v1": {digest("old"): NOW, digest("new"): NOW + DAY}}
    clock.now += 101 * DAY
    assert await backend.prune() == 2
    assert await backend.first_seen(HERE, ["v1", "gone"]) == {"v1": {digest("new"): NOW + DAY}}


async def test_dates_of_images_are_hints(cache_database: SqlDatabase) -> None:
    """They expire like those, and an image without a date is known as such."""
    backend = StateCacheBackend(cache_database, keep=KEEP)
    await backend.write([CreatedRecord(digest("a"), NOW), CreatedRecord(digest("b"), None)], tidy=False)
    wanted = [digest("a"), digest("b"), digest("c")]
    assert await backend.created(wanted) == {digest("a"): NOW, digest("b"): None}


async def test_a_run_finds_the_times_of_an_earlier_run(state_url: str) -> None:
    """A new state is created for them: they are no hints."""
    async with for_run(shelf(state_url, is_new=True)) as caches:
        assert caches.first_seen.is_durable
        assert await caches.first_seen.times(HERE, ["v1"]) == {}
        await caches.first_seen.record(HERE, [Sighting("v1", digest("a"), NOW)])
        caches.image_dates.record(digest("a"), NOW)
    async with for_run(shelf(state_url)) as caches:
        assert await caches.first_seen.times(HERE, ["v1"]) == {"v1": {digest("a"): NOW}}
        assert await caches.image_dates.created([digest("a")]) == {digest("a"): NOW}


async def test_a_state_that_fails_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without the times, a rule would copy too early."""
    folder = tmp_path_factory.mktemp("folder")  # A folder is no file of a state.
    warnings: list[str] = []
    async with for_run(shelf(str(folder)), warnings) as caches:
        with pytest.raises(Unavailable, match="the state does not say since when its tags are public"):
            await caches.first_seen.times(HERE, ["v1"])
        with pytest.raises(Unavailable, match="the state does not say"):
            await caches.first_seen.record(HERE, [Sighting("v1", digest("a"), NOW)])
        assert await caches.image_dates.created([digest("a")]) == {}
    assert len(warnings) == 1
