"""What earlier runs found spares requests, and never decides wrongly."""

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
from support.runs import SOURCE, TARGET, runner
from support.runs import rule as make_rule

ARM = PlatformFilter.parse([], ["arm64"])
DAY = 86400.0


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


@pytest.fixture
def clock() -> Clock:
    """The time by which the history counts."""
    return Clock()


@pytest.fixture
def history(clock: Clock) -> MemoryDigestCache:
    """An empty history."""
    return MemoryDigestCache(clock)


def rule(*, platforms: PlatformFilter | None = None, recheck: float | None = None) -> Rule:
    """Return a rule for all tags."""
    return Rule("app", SOURCE, AllTags(), (RuleTarget(TARGET),), platforms or PlatformFilter(), recheck_seconds=recheck)


async def plan(
    stores: MemoryStores, history: MemoryDigestCache, wanted: Rule, *, force: bool = False
) -> Sequence[PlannedCopy]:
    """Return what a new run plans, and forget what the stores were asked before."""
    for store in stores:
        store.operations.clear()
    planned = await Planner(stores, ManifestReader(stores), width=8, history=history).plan([wanted], force=force)
    return planned.copies


def asked(stores: MemoryStores, repository: Repository) -> list[str]:
    """Return the steps at *repository*, the listing left out."""
    return [call.step for call in stores.store(repository).operations if call.step != "tags"]


async def fill(stores: MemoryStores, *tags: str) -> None:
    """Bring the trimmed image to the target under *tags*."""
    stores.store(SOURCE).load(multi("a"), *tags)
    await runner(stores)(make_rule(AllTags(), platforms=ARM))


async def test_a_filter_costs_one_resolve_on_each_side_once_it_is_known(
    stores: MemoryStores, history: MemoryDigestCache
) -> None:
    """The index is read by the first run alone."""
    await fill(stores, "v1")
    first = await plan(stores, history, rule(platforms=ARM))
    assert asked(stores, SOURCE) == ["resolve", "manifest"]
    second = await plan(stores, history, rule(platforms=ARM))
    assert asked(stores, SOURCE) == asked(stores, TARGET) == ["resolve"]
    assert first == second
    assert [one.action for one in second] == [Action.UNCHANGED]


async def test_a_wrong_note_of_a_filter_is_put_right(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """What does not say "unchanged" is not believed: the index is read, and the plan is the true one."""
    await fill(stores, "v1")
    source, wrong = stores.store(SOURCE).tags["v1"], Digest.of(b"wrong")
    (true,) = await plan(stores, MemoryDigestCache(), rule(platforms=ARM))
    history.record_filtered(source, ARM, wrong)
    assert await plan(stores, history, rule(platforms=ARM)) == (true,)
    assert await history.filtered_digest(source, ARM) == true.target_digest


async def test_a_recheck_asks_the_target_once_in_its_time(
    stores: MemoryStores, history: MemoryDigestCache, clock: Clock
) -> None:
    """Then it is asked again, however often runs looked at the note meanwhile."""
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


async def test_a_recheck_asks_where_another_digest_is_wanted(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """A source that moved is never hidden by what is remembered."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(TARGET).load(single("a"), "v1")
    await plan(stores, history, rule(recheck=DAY))
    stores.store(SOURCE).load(single("b"), "v1")
    (moved,) = await plan(stores, history, rule(recheck=DAY))
    assert (moved.action, moved.replaces) == (Action.COPY, single("a").digest)
    assert asked(stores, TARGET) == ["resolve"]


async def test_force_believes_nothing(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """Both sides are asked, and everything is copied."""
    await fill(stores, "v1")
    wanted = rule(platforms=ARM, recheck=DAY)
    await plan(stores, history, wanted)
    (forced,) = await plan(stores, history, wanted, force=True)
    assert forced.action is Action.COPY
    assert asked(stores, SOURCE) == ["resolve", "manifest"]
    assert asked(stores, TARGET) == ["resolve"]


async def test_without_a_recheck_what_is_remembered_of_targets_counts_for_nothing(
    stores: MemoryStores, history: MemoryDigestCache
) -> None:
    """It is a choice, and off unless it is made; a plain run notes nothing either."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(TARGET).load(single("a"), "v1")
    await plan(stores, history, rule())
    assert await history.target_digests(TARGET, DAY) == {}
    await plan(stores, history, rule(recheck=DAY))
    await plan(stores, history, rule())
    assert asked(stores, TARGET) == ["resolve"]


async def test_what_was_copied_is_not_asked_for_again(stores: MemoryStores, history: MemoryDigestCache) -> None:
    """Who carried a plan out confirms it."""
    stores.store(SOURCE).load(single("a"), "v1")
    planner = Planner(stores, ManifestReader(stores), width=8, history=history)
    planned = await planner.plan([rule(recheck=DAY)])
    stores.store(TARGET).load(single("a"), "v1")
    planner.confirm(planned.copies, written=True)
    (copy,) = await plan(stores, history, rule(recheck=DAY))
    assert (copy.action, asked(stores, TARGET)) == (Action.UNCHANGED, [])


class CountingHistory(MemoryDigestCache):
    """Counts how often it is asked for what targets named."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    async def target_digests(self, repository: Repository, seconds: float) -> dict[str, Digest]:
        """Count, and answer."""
        self.questions += 1
        return dict(await super().target_digests(repository, seconds))


async def test_history_is_asked_once_for_a_target_repository(stores: MemoryStores) -> None:
    """Not once for each tag."""
    tags = [f"v{number}" for number in range(50)]
    stores.store(SOURCE).load(single("a"), *tags)
    stores.store(TARGET).load(single("a"), *tags)
    counting = CountingHistory()
    await plan(stores, counting, rule(recheck=DAY))
    assert counting.questions == 1
