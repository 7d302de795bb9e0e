"""Runs of rules with target templates or with a pattern as their source."""

from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate
from image_syncer.sync.plan import Action
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule, Selection, TagFilter
from image_syncer.testing.images import single
from image_syncer.testing.memory_store import MemoryStores
from support.runs import SOURCE, runner


def rule(selection: Selection, *targets: str, source: SourcePattern | None = None) -> Rule:
    """Return a rule with templates as its targets."""
    ends = tuple(TargetTemplate.parse(target) for target in targets)
    return Rule("one", source or SOURCE, selection, ends, origin="n.yaml:3")


async def test_templates_name_the_targets() -> None:
    """Each selected tag arrives under the name that the template makes."""
    stores = MemoryStores()
    stores.store(SOURCE).load(single("a"), "v1", "v2", "w1")
    wanted = TagFilter((TagGlob.parse("v*"),))
    results = await runner(stores)(rule(wanted, "t.io/{repository}:{tag}-copy"))
    assert {target: result.outcome for target, result in results.items()} == {
        "t.io/team/app:v1-copy": Outcome.COPIED,
        "t.io/team/app:v2-copy": Outcome.COPIED,
    }


async def test_a_missing_name_is_a_failure() -> None:
    """An exact name of a filter that the source lacks fails instead of selecting nothing."""
    stores = MemoryStores()
    stores.store(SOURCE).load(single("a"), "v1")
    results = await runner(stores)(rule(TagFilter(("gone", TagGlob.parse("v*"))), "t.io/x"))
    assert {target: result.outcome for target, result in results.items()} == {
        "t.io/x:v1": Outcome.COPIED,
        "t.io/x:gone": Outcome.FAILED,
    }


async def test_a_tag_without_a_valid_target_fails_alone() -> None:
    """It is one failed image with a reason; the others are copied."""
    stores = MemoryStores()
    stores.store(SOURCE).load(single("a"), "v1", "v" * 126)
    results = await runner(stores)(rule(AllTags(), "t.io/x:{tag}-copy"))
    assert results["t.io/x:v1-copy"].outcome is Outcome.COPIED
    failed = results["t.io/x:{tag}-copy"]
    assert (failed.outcome, failed.side, failed.step) == (Outcome.FAILED, "target", "select")
    assert failed.source == f"{SOURCE}:{'v' * 126}"


async def test_one_target_tag_for_several_images_is_a_conflict() -> None:
    """The first image gets the tag; the others fail."""
    stores = MemoryStores()
    stores.store(SOURCE).load(single("a"), "v1", "v2")
    plan = await planner(stores).plan([rule(AllTags(), "t.io/x:new")])
    assert [planned.action for planned in plan.copies] == [Action.COPY]
    assert "from different sources" in str(plan.failures[0].failure)


async def test_a_rule_with_a_pattern_does_nothing_without_an_event() -> None:
    """No registry is asked, and a warning says so."""
    stores = MemoryStores()
    plan = await planner(stores).plan([rule(AllTags(), "t.io/x", source=SourcePattern.parse("q.io/**"))])
    assert (plan.copies, plan.failures, list(stores)) == ((), (), [])
    assert plan.warnings[0].startswith("n.yaml:3: one has a pattern as its source: there is nothing to do without")


def planner(stores: MemoryStores) -> Planner:
    """Return a planner over *stores*."""
    return Planner(stores, ManifestReader(stores), width=4)
