"""Ages of tags in plans: since when they are public, when images were created, and what that costs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.cache import MemoryFirstSeen, MemoryImageDates
from image_syncer.errors import Unavailable
from image_syncer.oci import Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.roles import Sighting
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Action, Plan
from image_syncer.sync.planner import Planner
from image_syncer.sync.rule import Rule, RuleTarget
from image_syncer.sync.tag_dates import TagDates
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_selection import Latest, TagSelection, TagVersions
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import Entry, attested, helm_chart, index, single
from image_syncer.testing.memory_store import MemoryStores
from support.runs import SOURCE, TARGET

BEGIN = datetime(2026, 12, 1, tzinfo=UTC)
WEEK = timedelta(days=7).total_seconds()
COOL_DOWN = TagSelection(TagFilter(), min_age_seconds=WEEK)
NEW_ONLY = TagSelection(TagFilter(), newer_than_seconds=30 * 86_400.0)


class DurableFirstSeen(MemoryFirstSeen):
    """First-seen times that outlive a run."""

    is_durable = True


class Bench:
    """Stores, what is remembered between runs, and the time."""

    def __init__(self) -> None:
        self.stores = MemoryStores()
        self.source = self.stores.store(SOURCE)
        self.first_seen: MemoryFirstSeen = DurableFirstSeen()
        self.image_dates = MemoryImageDates()
        self.now = BEGIN

    def planner(self) -> Planner:
        """Return the planner of a new run."""
        reader = ManifestReader(self.stores)
        dates = TagDates(self.stores, reader, self.first_seen, self.image_dates, width=2, now=lambda: self.now)
        return Planner(self.stores, reader, width=2, dates=lambda: dates)

    async def plan(self, selection: TagSelection) -> Plan:
        """Return the plan of a new run, and clear the requests before it."""
        self.source.operations.clear()
        return await self.planner().plan([rule(selection)])

    async def planned(self, selection: TagSelection) -> dict[str, str]:
        """Return what a new run would do with each selected tag, by its reason or action."""
        plan = await self.plan(selection)
        assert not plan.failures
        return {one.copy.source.tag or "": one.reason or str(one.action) for one in plan.copies}

    def requests(self) -> list[str]:
        """Return the requests to the source since the last plan began."""
        return [call.step for call in self.source.operations]

    def later(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)


@pytest.fixture
def bench() -> Bench:
    """Nothing yet."""
    return Bench()


def rule(selection: TagSelection) -> Rule:
    """Return a rule with *selection*."""
    return Rule("app", SOURCE, selection, (RuleTarget(TARGET),))


def dated(seed: str, created: object) -> Image:
    """Return an image whose config says that it was *created* then."""
    content = json.dumps({"architecture": "amd64", "os": "linux", "created": created, "x": seed}).encode()
    config = Blob.of(content, types.OCI_CONFIG)
    entry = {"mediaType": types.OCI_CONFIG, "digest": str(config.digest), "size": len(content)}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": entry, "layers": []}
    root = RawManifest.of(json.dumps(document).encode(), types.OCI_MANIFEST)
    return Image(root, (root,), {config.digest: config})


def ago(**time: float) -> str:
    """Return the time that long before the first run, as image configs write it."""
    return (BEGIN - timedelta(**time)).isoformat().replace("+00:00", ".123456789Z")


async def test_a_tag_is_copied_once_it_was_seen_for_long_enough(bench: Bench) -> None:
    """The first run learns its digest by one request; runs in between ask nothing about it."""
    bench.source.load(single("a"), "1.0")
    assert await bench.planned(COOL_DOWN) == {}
    assert bench.requests() == ["tags", "resolve"]
    bench.later(days=6.9)
    assert await bench.planned(COOL_DOWN) == {}
    assert bench.requests() == ["tags"]
    bench.later(days=0.1)
    assert await bench.planned(COOL_DOWN) == {"1.0": "copy"}
    assert bench.requests() == ["tags", "resolve"]


async def test_a_tag_that_moved_waits_again(bench: Bench) -> None:
    """What counts is the time with its present digest."""
    bench.source.load(single("a"), "1.0")
    await bench.plan(COOL_DOWN)
    bench.later(days=8)
    bench.source.load(single("b"), "1.0")
    plan = await bench.plan(COOL_DOWN)
    (moved,) = plan.copies
    assert (moved.action, moved.reason) == (Action.SKIP, "public for 0s, min_age is 7d")
    assert moved.source_digest == single("b").digest
    assert moved.target_digest is None
    bench.later(days=2)
    assert await bench.planned(COOL_DOWN) == {}
    bench.later(days=5)
    assert await bench.planned(COOL_DOWN) == {"1.0": "copy"}


async def test_an_image_that_the_target_has_stays_unchanged(bench: Bench) -> None:
    """A tag that is seen for the first time with the target's digest is no failure and no skip."""
    bench.source.load(single("a"), "1.0")
    bench.stores.store(TARGET).load(single("a"), "1.0")
    await bench.first_seen.record(SOURCE, [Sighting("1.0", Digest.of(b"older"), BEGIN - timedelta(days=9))])
    assert await bench.planned(COOL_DOWN) == {"1.0": "unchanged"}


async def test_the_dates_of_an_image_do_not_make_it_old_enough(bench: Bench) -> None:
    """The builder of an image chooses them."""
    bench.source.load(dated("a", ago(days=300)), "1.0")
    assert await bench.planned(COOL_DOWN) == {}


async def test_the_date_of_the_registry_counts_from_the_first_run_on(bench: Bench) -> None:
    """It needs no state and no request; a tag that moved since the list is as new as it was first seen."""
    bench.first_seen = MemoryFirstSeen()
    bench.source.tells = True
    bench.source.load(single("a"), "old", "moved")
    bench.source.load(single("b"), "new")
    bench.source.dates = {tag: BEGIN - timedelta(days=8) for tag in ("old", "moved")}
    bench.source.dates["new"] = BEGIN - timedelta(days=1)
    assert await bench.planned(COOL_DOWN) == {"old": "copy", "moved": "copy"}
    planner = bench.planner()
    selected = await planner.select([rule(COOL_DOWN)])
    bench.source.load(single("c"), "moved")
    bench.source.dates["moved"] = BEGIN
    decided = await planner.decide(selected.copies)
    assert {one.copy.source.tag: one.reason for one in decided.values()} == {
        "moved": "public for 0s, min_age is 7d",
        "old": None,
    }


async def test_the_date_of_the_registry_is_known_to_other_processes(bench: Bench) -> None:
    """A job that copies one image reads no list of tags."""
    bench.source.tells = True
    bench.source.load(single("a"), "old")
    bench.source.dates = {"old": BEGIN - timedelta(days=8)}
    selected = await bench.planner().select([rule(COOL_DOWN)])
    bench.source.tells = False
    decided = await bench.planner().decide(selected.copies)
    assert [one.action for one in decided.values()] == [Action.COPY]


@pytest.mark.parametrize("date", [BEGIN + timedelta(days=1), datetime(1970, 1, 1, tzinfo=UTC)])
async def test_an_incredible_date_of_the_registry_counts_for_nothing(bench: Bench, date: datetime) -> None:
    """A date in the future or before 2013 is none."""
    bench.source.tells = True
    bench.source.load(single("a"), "1.0")
    bench.source.dates = {"1.0": date}
    assert await bench.planned(COOL_DOWN) == {}


async def test_a_cool_down_without_a_state_fails_the_rule(bench: Bench) -> None:
    """Otherwise each run would see each tag for the first time, and copy nothing for ever."""
    bench.first_seen = MemoryFirstSeen()
    bench.source.load(single("a"), "1.0")
    plan = await bench.plan(COOL_DOWN)
    (failed,) = plan.failures
    assert failed.failure.is_permanent
    assert "min_age needs a state" in str(failed.failure)
    assert "leave --state none out" in str(failed.failure)
    assert plan.copies == ()


async def test_a_state_that_cannot_be_read_fails_the_rule(bench: Bench) -> None:
    """It is tried again; nothing is copied too early."""

    class Broken(DurableFirstSeen):
        async def times(self, repository: object, tags: object) -> dict[str, dict[Digest, datetime]]:
            del repository, tags
            raise Unavailable("the state is locked")

    bench.first_seen = Broken()
    bench.source.load(single("a"), "1.0")
    (failed,) = (await bench.plan(COOL_DOWN)).failures
    assert not failed.failure.is_permanent
    assert "the state is locked" in str(failed.failure)


async def test_a_new_tag_that_cannot_be_resolved_stays_new(bench: Bench) -> None:
    """The others of its rule are not delayed."""
    bench.source.load(single("a"), "1.0", "1.1")
    bench.source.fail("resolve", "1.0")
    await bench.plan(COOL_DOWN)
    bench.later(days=7)
    assert await bench.planned(COOL_DOWN) == {"1.1": "copy"}


async def test_images_are_selected_by_when_they_were_created(bench: Bench) -> None:
    """A digest is read once for all tags and runs; a HEAD for each tag tells whether it moved."""
    bench.source.load(dated("a", ago(days=29)), "new", "same")
    bench.source.load(dated("b", ago(days=31)), "old")
    assert await bench.planned(NEW_ONLY) == {"new": "copy", "same": "copy"}
    assert bench.requests().count("manifest") == 2
    assert bench.requests().count("open") == 2
    bench.later(days=2)
    assert await bench.planned(NEW_ONLY) == {}
    assert sorted(bench.requests()) == ["resolve", "resolve", "resolve", "tags"]


@pytest.mark.parametrize("created", ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "yesterday", 7, None])
async def test_an_image_without_a_credible_date_counts_from_when_it_was_seen(bench: Bench, created: object) -> None:
    """Reproducible builds have the same date for all versions."""
    bench.source.load(dated("a", created), "1.0")
    assert await bench.planned(NEW_ONLY) == {"1.0": "copy"}
    bench.later(days=31)
    assert await bench.planned(NEW_ONLY) == {}


async def test_other_artifacts_count_from_when_they_were_seen(bench: Bench) -> None:
    """A chart has a config without a date."""
    bench.source.load(helm_chart("chart"), "1.0")
    assert await bench.planned(NEW_ONLY) == {"1.0": "copy"}
    bench.later(days=31)
    assert await bench.planned(NEW_ONLY) == {}


async def test_an_index_is_as_old_as_its_first_image(bench: Bench) -> None:
    """Attestations are no images."""
    old, new = dated("a", ago(days=31)), dated("b", ago(days=1))
    bench.source.load(index([Entry(old), Entry(new)]), "old")
    bench.source.load(index([Entry(new), Entry(old)]), "new")
    bench.source.load(attested("c"), "undated")
    assert await bench.planned(NEW_ONLY) == {"new": "copy", "undated": "copy"}


async def test_the_newest_images_are_selected(bench: Bench) -> None:
    """By date, whatever their names."""
    for day, tag in enumerate(("c", "a", "b")):
        bench.source.load(dated(tag, ago(days=day)), tag)
    latest = TagSelection(TagFilter(), latest=Latest(2, "date"))
    assert await bench.planned(latest) == {"a": "copy", "c": "copy"}


async def test_a_date_that_may_be_read_later_fails_the_rule(bench: Bench) -> None:
    """Without it an old image would count as new."""
    image = dated("a", ago(days=300))
    bench.source.load(image, "old")
    bench.source.fail("manifest", image.digest)
    (failed,) = (await bench.plan(NEW_ONLY)).failures
    assert not failed.failure.is_permanent
    assert await bench.planned(NEW_ONLY) == {}


async def test_too_few_tags_fail_the_rule_and_change_nothing(bench: Bench) -> None:
    """A registry may answer with an empty or shortened list."""
    bench.source.load(single("a"), "1.0", "1.1", "nightly")
    guarded = TagSelection(TagFilter(), TagVersions(), latest=Latest(1), min_tags=3)
    plan = await bench.plan(guarded)
    (failed,) = plan.failures
    assert plan.copies == ()
    assert "2 of 3 listed tags are left, min_tags is 3 (nothing was changed" in str(failed.failure)
    bench.source.load(single("a"), "1.2")
    assert await bench.planned(guarded) == {"1.2": "copy"}


async def test_a_planner_explains_a_tag(bench: Bench) -> None:
    """A pushed tag that the registry does not list yet counts as listed."""
    bench.source.load(single("a"), "1.0", "1.1")
    latest = rule(TagSelection(TagFilter(), TagVersions(), latest=Latest(1)))
    for tag, is_pushed, expected in (
        ("1.0", True, (False, "is not among the 1 latest by semver")),
        ("1.1", True, (True, "fits versions; the 1 latest by semver")),
        ("1.2", True, (True, "fits versions; the 1 latest by semver")),
        ("1.2", False, (False, "the registry does not list it")),
    ):
        found = await bench.planner().explain(latest, SOURCE.tag(tag), is_pushed=is_pushed)
        assert (found.is_selected, found.reason) == expected
