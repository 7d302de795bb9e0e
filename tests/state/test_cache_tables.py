"""Blob locations, digests, uploads and facts about hosts: one contract over memory, SQLite and PostgreSQL."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from image_syncer.cache import Caches, in_memory
from image_syncer.cache.persistent import for_run
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, ReferrerCheck, UploadCheckpoint
from state.hints import HERE, blob, digest, shelf
from support.postgres import Postgres

THERE = Repository("target.test", "mirror/other")
ELSEWHERE = Repository("elsewhere.test:5000", "app")
ARM, AMD = PlatformFilter.parse([], ["arm64"]), PlatformFilter.parse([], ["amd64"])
SOURCE = Repository("source.test", "app")


def confirmed(tag: str, content: str, *, rule: str = "app", written: bool = False) -> ConfirmedCopy:
    """Return the observation that *tag* had the digest of *content*."""
    return ConfirmedCopy(rule, SOURCE.tag(tag), digest(content), AMD, HERE.tag(tag), digest(content), written)


@pytest.fixture(params=["memory", "sqlite", "sqlite of a daemon", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The storage of the caches."""
    return request.param


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty state; empty for none."""
    if kind == "memory":
        return ""
    if kind.startswith("sqlite"):
        return str(tmp_path_factory.mktemp("state") / "state.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


class Runs:
    """Runs one after the other on one state; `next` ends one and begins the next."""

    def __init__(self, place: str, *, of_daemon: bool) -> None:
        self._place = place
        self._of_daemon = of_daemon
        self._stack = AsyncExitStack()
        self._memory = in_memory()
        self.warnings: list[str] = []

    async def next(self) -> Caches:
        """End this run and return the caches of the next one."""
        await self.close()
        if not self._place:
            return self._memory
        return await self._stack.enter_async_context(for_run(shelf(self._place, of_daemon=self._of_daemon)))

    async def close(self) -> None:
        """End the run."""
        await self._stack.aclose()


@pytest.fixture
async def runs(kind: str, place: str) -> AsyncGenerator[Runs]:
    """Runs on one state."""
    runs = Runs(place, of_daemon="daemon" in kind)
    yield runs
    await runs.close()


async def test_what_one_run_placed_the_next_one_finds(runs: Runs) -> None:
    """By registry and digest; unknown blobs are left out."""
    first = await runs.next()
    first.blob_locations.record(HERE, blob("a"))
    first.blob_locations.record(ELSEWHERE, blob("a"))
    assert await first.blob_locations.holders("target.test", [digest("a"), digest("b")]) == {digest("a"): HERE}
    second = await runs.next()
    assert await second.blob_locations.holders("target.test", [digest("a"), digest("b")]) == {digest("a"): HERE}
    assert await second.blob_locations.holders("elsewhere.test:5000", [digest("a")]) == {digest("a"): ELSEWHERE}
    assert await second.blob_locations.holders("unknown.test", [digest("a")]) == {}
    assert await second.flush() == ()


async def test_the_last_place_of_a_blob_is_the_one_that_is_named(runs: Runs) -> None:
    """The most recent repository is the most likely one to still have the blob."""
    first = await runs.next()
    first.blob_locations.record(HERE, blob("a"))
    second = await runs.next()
    second.blob_locations.record(THERE, blob("a"))
    third = await runs.next()
    assert await third.blob_locations.holders("target.test", [digest("a")]) == {digest("a"): THERE}


async def test_what_is_lost_is_not_named_again(runs: Runs) -> None:
    """Neither in this run, before and after it is written, nor in the next."""
    first = await runs.next()
    first.blob_locations.record(HERE, blob("a"))
    first.blob_locations.record(HERE, blob("b"))
    second = await runs.next()
    second.blob_locations.forget(HERE, digest("a"))
    second.blob_locations.forget(THERE, digest("b"))  # It was never said to be there.
    assert await second.blob_locations.holders("target.test", [digest("a"), digest("b")]) == {digest("b"): HERE}
    third = await runs.next()
    assert await third.blob_locations.holders("target.test", [digest("a"), digest("b")]) == {digest("b"): HERE}
    third.blob_locations.record(THERE, blob("a"))
    assert await third.blob_locations.holders("target.test", [digest("a")]) == {digest("a"): THERE}


async def test_a_thousand_blobs_are_asked_for_at_once(runs: Runs) -> None:
    """More than fit into one statement."""
    first = await runs.next()
    for number in range(1200):
        first.blob_locations.record(HERE, blob(str(number)))
    second = await runs.next()
    asked = [digest(str(number)) for number in range(1201)]
    assert len(await second.blob_locations.holders("target.test", asked)) == 1200


async def test_what_a_filter_leaves_is_known_by_source_and_filter(runs: Runs) -> None:
    """Another filter on the same index leaves something else."""
    first = await runs.next()
    first.digests.record_filtered(digest("index"), ARM, digest("arm"))
    first.digests.record_filtered(digest("index"), AMD, digest("wrong"))
    first.digests.record_filtered(digest("index"), AMD, digest("amd"))
    second = await runs.next()
    assert await second.digests.filtered_digest(digest("index"), ARM) == digest("arm")
    assert await second.digests.filtered_digest(digest("index"), AMD) == digest("amd")
    assert await second.digests.filtered_digest(digest("other"), AMD) is None
    second.digests.record_filtered(digest("other"), AMD, digest("found"))
    assert await second.digests.filtered_digest(digest("other"), AMD) == digest("found")


async def test_a_long_filter_is_not_taken_for_another(runs: Runs) -> None:
    """Texts are bounded; two with a common prefix stay different."""
    names = [f"os{number}" for number in range(200)]
    one, other = PlatformFilter.parse([*names, "a"]), PlatformFilter.parse([*names, "b"])
    first = await runs.next()
    first.digests.record_filtered(digest("index"), one, digest("one"))
    second = await runs.next()
    assert await second.digests.filtered_digest(digest("index"), one) == digest("one")
    assert await second.digests.filtered_digest(digest("index"), other) is None


async def test_what_targets_named_is_known_by_repository(runs: Runs) -> None:
    """The latest observation counts, from any rule."""
    first = await runs.next()
    first.digests.record_copies([confirmed("1", "a"), confirmed("2", "b", written=True)])
    second = await runs.next()
    second.digests.record_copies([confirmed("1", "c", rule="other")])
    third = await runs.next()
    assert await third.digests.target_digests(HERE, 60) == {"1": digest("c"), "2": digest("b")}
    assert await third.digests.target_digests(HERE, -3600) == {}
    assert await third.digests.target_digests(THERE, 60) == {}
    third.digests.record_copies([confirmed("2", "d")])
    assert (await third.digests.target_digests(HERE, 60))["2"] == digest("d")


async def test_an_upload_that_did_not_end_is_found(runs: Runs) -> None:
    """With its URL and offset, until the session has ended."""
    first = await runs.next()
    first.uploads.record(HERE, digest("a"), UploadCheckpoint("/v2/mirror/app/blobs/uploads/1?_state=x", 5))
    first.uploads.record(HERE, digest("a"), UploadCheckpoint("/v2/mirror/app/blobs/uploads/1?_state=y", 10))
    second = await runs.next()
    begun = await second.uploads.take(HERE, digest("a"))
    assert begun == UploadCheckpoint("/v2/mirror/app/blobs/uploads/1?_state=y", 10)
    assert await second.uploads.take(THERE, digest("a")) is None
    second.uploads.forget(HERE, digest("a"))
    assert await second.uploads.take(HERE, digest("a")) is None
    third = await runs.next()
    assert await third.uploads.take(HERE, digest("a")) is None


async def value(caches: Caches, host: str, key: str) -> str | None:
    """Return the value of the fact *key* about *host*."""
    fact = await caches.facts.get(host, key)
    return None if fact is None else fact.value


async def test_a_fact_about_a_host_is_found_by_later_runs(runs: Runs) -> None:
    """By host and key, with the time when it was found; the latest value counts."""
    first = await runs.next()
    began = datetime.now(UTC)
    first.facts.remember("target.test", "plain_http", "no", seconds=60)
    first.facts.remember("target.test", "plain_http", "yes", seconds=60)
    first.facts.remember("elsewhere.test:5000", "one_post", "no", seconds=60)
    assert await value(first, "target.test", "plain_http") == "yes"
    second = await runs.next()
    fact = await second.facts.get("target.test", "plain_http")
    assert fact is not None
    assert (fact.value, began <= fact.recorded_at <= datetime.now(UTC)) == ("yes", True)
    assert await value(second, "target.test", "one_post") is None
    assert await value(second, "elsewhere.test:5000", "one_post") == "no"
    assert await value(second, "unknown.test", "one_post") is None
    assert await second.flush() == ()


async def test_a_forgotten_fact_is_not_found_again(runs: Runs) -> None:
    """Neither by the run that forgets it nor by the next one; other facts about the host stay."""
    first = await runs.next()
    first.facts.remember("target.test", "plain_http", "yes", seconds=60)
    first.facts.remember("target.test", "one_post", "yes", seconds=60)
    second = await runs.next()
    second.facts.forget("target.test", "plain_http")
    assert await value(second, "target.test", "plain_http") is None
    third = await runs.next()
    assert await value(third, "target.test", "plain_http") is None
    assert await value(third, "target.test", "one_post") == "yes"
    third.facts.remember("target.test", "plain_http", "again", seconds=60)
    assert await value(third, "target.test", "plain_http") == "again"


async def test_an_expired_fact_is_not_found(runs: Runs) -> None:
    """Neither by the run that recorded it nor by the next one."""
    first = await runs.next()
    first.facts.remember("target.test", "plain_http", "yes", seconds=-1)
    assert await value(first, "target.test", "plain_http") is None
    second = await runs.next()
    assert await value(second, "target.test", "plain_http") is None


async def test_the_last_check_of_referrers_is_found_by_the_next_run(runs: Runs) -> None:
    """One per repository and subject: the newest. More subjects than one statement takes are asked for."""
    first, now = await runs.next(), float(int(time.time()))
    subjects = [*(digest(f"unchecked/{number}") for number in range(1200)), digest("image")]
    for listed, at in (("old", now - 2), ("new", now - 0.5)):
        first.referrers.record_check(ReferrerCheck(HERE, digest("image"), digest(listed), "trust", at))
    first.referrers.record_check(ReferrerCheck(THERE, digest("image"), digest("other"), "", now))
    wanted = {digest("image"): ReferrerCheck(HERE, digest("image"), digest("new"), "trust", now - 0.5)}
    assert await first.referrers.checks(HERE, subjects) == wanted
    second = await runs.next()
    assert await second.referrers.checks(HERE, subjects) == wanted
    assert await second.referrers.checks(ELSEWHERE, subjects) == {}
    newest = ReferrerCheck(HERE, digest("image"), digest("newest"), "trust", now)
    second.referrers.record_check(newest)
    assert await second.referrers.checks(HERE, subjects) == {digest("image"): newest}


async def test_only_the_checks_that_are_asked_for_are_read(runs: Runs) -> None:
    """A repository can have a million of them, and a run asks in batches."""
    first, now = await runs.next(), float(int(time.time()))
    checks = [ReferrerCheck(HERE, digest(f"image/{number}"), digest("list"), "", now) for number in range(1200)]
    for check in checks:
        first.referrers.record_check(check)
    second = await runs.next()
    for cache in (first.referrers, second.referrers):
        assert await cache.checks(HERE, [checks[7].subject, digest("unchecked")]) == {checks[7].subject: checks[7]}
        assert len(await cache.checks(HERE, [check.subject for check in checks])) == 1200
        assert await cache.checks(HERE, []) == {}


async def test_the_legacy_tags_that_a_run_wrote_are_known_to_the_next(runs: Runs) -> None:
    """With the digest that was written last."""
    first = await runs.next()
    first.referrers.record_written_tag(HERE, "sha256-1.sig", digest("first"))
    first.referrers.record_written_tag(HERE, "sha256-1.sig", digest("second"))
    first.referrers.record_written_tag(THERE, "sha256-2.sig", digest("other"))
    second = await runs.next()
    assert await second.referrers.written_tags(HERE) == {"sha256-1.sig": digest("second")}
    assert await second.referrers.written_tags(ELSEWHERE) == {}


async def test_a_legacy_tag_that_another_process_wrote_since_is_known(place: str, kind: str) -> None:
    """A process that wrote the tag before does not take its own digest for the last one; its next one it does."""
    memory, is_daemon = in_memory(), "daemon" in kind
    async with AsyncExitStack() as stack:
        if not place:
            one = other = memory
        else:
            one, other = [await stack.enter_async_context(for_run(shelf(place, of_daemon=is_daemon))) for _ in range(2)]
        for cache, name in ((one, "first"), (other, "second"), (one, "third")):
            cache.referrers.record_written_tag(HERE, "sha256-1.sig", digest(name))
            await cache.flush()
            for reader in (one, other):
                assert await reader.referrers.written_tags(HERE) == {"sha256-1.sig": digest(name)}
        other.referrers.record_written_tag(HERE, "sha256-1.sig", digest("not flushed yet"))
        assert await other.referrers.written_tags(HERE) == {"sha256-1.sig": digest("not flushed yet")}
