"""Cached digests of earlier runs save requests and never lead to a wrong decision."""

from collections.abc import Sequence

import pytest

from image_syncer.cache import MemoryDigestCache
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Action, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing.images import multi, single
from image_syncer.testing.memory_store import MemoryStores
from support.clocks import ManualClock
from support.runs import SOURCE, TARGET, runner
from support.runs import rule as make_rule

ARM = PlatformFilter.parse([], ["arm64"])
DAY = 86400.0


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the digest cache."""
    return ManualClock(1000.0)


@pytest.fixture
def history(clock: ManualClock) -> MemoryDigestCache:
    """An empty digest cache."""
    return MemoryDigestCache(clock)


def rule(*, platforms: PlatformFilter | None = None, recheck: float | None = None) -> Rule:
    """Return a rule for all tags."""
    return Rule("app", SOURCE, AllTags(), (RuleTarget(TARGET),), platforms or PlatformFilter(), recheck_seconds=recheck)


async def plan(
    stores: MemoryStores, history: MemoryDigestCache, wanted: Rule, *, force: bool = False
) -> Sequence[PlannedCopy]:
    """Return the plan of a new run, and clear the requests of the stores before it."""
    for store in stores:
        store.operations.clear()
    planned = await Planner(stores, ManifestReader(stores), width=8, history=history).plan([wanted], force=force)
    return planned.copies


def asked(stores: MemoryStores, repository: Repository) -> list[str]:
    """Return the requests to *repository* without the listing."""
    return [call.step for call in stores.store(repository).operations if call.step != "tags"]


async def fill(stores: MemoryStores, *tags: str) -> None:
    """Copy the filtered image to the target under *tags*."""
    stores.store(SOURCE).load(multi("a"), *tags)
    await runner(stores)(make_rule(AllTags(), platforms=ARM))


async def test_a_cached_filter_result_costs_one_resolve_on_each_side(
    stores: MemoryStores, history: MemoryDigestCache
) -> None:
    """Only the first run reads the index."""
    await fill(stores, "v1")
    first = await plan(stores, history, rule(platforms=ARM))
    assert asked(stores, SOURCE) == ["resolve", "manifest"]
    second = await plan(stores, history, rule(platforms=ARM))
    assert asked(stores, SOURCE) == asked(stores, TARGET) == ["resolve"]
    assert first == second
    assert [one.action for one in second] == [Action.UNCHANGED]


async def test_a_wrong_cached_filter_result_is_corrected(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """A cache that does not say "unchanged" is not trusted: the run reads the index and plans correctly."""
    await fill(stores, "v1")
    source, wrong = stores.store(SOURCE).tags["v1"], Digest.of(b"wrong")
    (true,) = await plan(stores, MemoryDigestCache(), rule(platforms=ARM))
    history.record_filtered(source, ARM, wrong)
    assert await plan(stores, history, rule(platforms=ARM)) == (true,)
    assert await history.filtered_digest(source, ARM) == true.target_digest


async def test_a_recheck_asks_the_target_once_per_interval(
    stores: MemoryStores, history: MemoryDigestCache, clock: ManualClock
) -> None:
    """Runs that use the cached digest do not extend its life."""
    stores.store(SOURCE).load(single("a"), "v1", "v2")
    stores.store(TARGET).load(single("a"), "v1", "v2")
    counts: list[int] = []
    for hours in (0, 9, 9, 9):
        clock.now += hours * 3600
        copies = await plan(stores, history, rule(recheck=DAY))
        assert {one.action for one in copies} == {Action.UNCHANGED}
        assert asked(stores, SOURCE) == ["resolve"] * 2
        counts.append(len(asked(stores, TARGET)))
    assert counts == [2, 0, 0, 2]


async def test_a_recheck_asks_the_target_if_another_digest_is_wanted(
    stores: MemoryStores, history: MemoryDigestCache
) -> None:
    """The cache never hides a source that moved."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(TARGET).load(single("a"), "v1")
    await plan(stores, history, rule(recheck=DAY))
    stores.store(SOURCE).load(single("b"), "v1")
    (moved,) = await plan(stores, history, rule(recheck=DAY))
    assert (moved.action, moved.replaces) == (Action.COPY, single("a").digest)
    assert asked(stores, TARGET) == ["resolve"]


async def test_force_ignores_the_cache(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """A forced run asks both sides and copies everything."""
    await fill(stores, "v1")
    wanted = rule(platforms=ARM, recheck=DAY)
    await plan(stores, history, wanted)
    (forced,) = await plan(stores, history, wanted, force=True)
    assert forced.action is Action.COPY
    assert asked(stores, SOURCE) == ["resolve", "manifest"]
    assert asked(stores, TARGET) == ["resolve"]


async def test_without_a_recheck_cached_target_digests_are_not_used(
    stores: MemoryStores, history: MemoryDigestCache
) -> None:
    """A recheck is off by default, and a plain run records nothing."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(TARGET).load(single("a"), "v1")
    await plan(stores, history, rule())
    assert await history.target_digests(TARGET, DAY) == {}
    await plan(stores, history, rule(recheck=DAY))
    await plan(stores, history, rule())
    assert asked(stores, TARGET) == ["resolve"]


async def test_a_copied_target_is_not_asked_again(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """A run that executed a plan confirms it in the cache."""
    stores.store(SOURCE).load(single("a"), "v1")
    planner = Planner(stores, ManifestReader(stores), width=8, history=history)
    planned = await planner.plan([rule(recheck=DAY)])
    stores.store(TARGET).load(single("a"), "v1")
    planner.confirm(planned.copies, written=True)
    (copy,) = await plan(stores, history, rule(recheck=DAY))
    assert (copy.action, asked(stores, TARGET)) == (Action.UNCHANGED, [])


class CountingHistory(MemoryDigestCache):
    """A digest cache that counts requests for target digests."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    async def target_digests(self, repository: Repository, seconds: float) -> dict[str, Digest]:
        """Count, and answer."""
        self.questions += 1
        return dict(await super().target_digests(repository, seconds))


async def test_the_cache_is_asked_once_per_target_repository(stores: MemoryStores) -> None:
    """It is not asked for each tag."""
    tags = [f"v{number}" for number in range(50)]
    stores.store(SOURCE).load(single("a"), *tags)
    stores.store(TARGET).load(single("a"), *tags)
    counting = CountingHistory()
    await plan(stores, counting, rule(recheck=DAY))
    assert counting.questions == 1
