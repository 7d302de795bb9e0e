"""Runs of rules that find their repositories in a catalogue."""

from collections.abc import Sequence

import pytest

from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.errors import CatalogueClosed, NotFound, Unavailable
from image_syncer.oci import Repository
from image_syncer.structs import replace
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate
from image_syncer.sync.plan import Plan
from image_syncer.sync.planner import Planner
from image_syncer.sync.repository_filter import RepositoryFilter, parse_repository_matcher
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule, TagNames, Triggers
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.testing.images import single
from image_syncer.testing.memory_store import MemoryStores
from support.runs import runner


def stores_with(*paths: str, registry: str = "q.io") -> MemoryStores:
    """Return stores with an image at tag v1 of each path."""
    stores = MemoryStores()
    for path in paths:
        stores.store(Repository(registry, path)).load(single(path), "v1")
    return stores


def pattern_rule(source: str = "q.io/team/**", *, name: str = "team", events: bool = False, lists: bool = True) -> Rule:
    """Return a rule that copies what *source* matches to t.io, under the same names."""
    targets = (TargetTemplate.parse("t.io/{repository}"),)
    pattern = SourcePattern.parse(source)
    rule = Rule(name, pattern, AllTags(), targets, origin="n.yaml:3", triggers=Triggers(events=events))
    return replace(rule, lists=lists)


async def planned(stores: MemoryStores, *rules: Rule, stop: Shutdown | None = None) -> Plan:
    """Return the plan for *rules*."""
    return await Planner(stores, ManifestReader(stores), width=4).plan(rules, stop=stop)


def sources(plan: Plan) -> list[str]:
    """Return the sources that *plan* copies."""
    return [str(each.copy.source) for each in plan.copies]


async def test_a_pattern_selects_repositories_of_the_catalogue() -> None:
    """In the order of their names; other repositories and registries are left alone."""
    stores = stores_with("team/b", "team/a/deep", "team", "teams/c", "other/d")
    stores.store("w.io/team/x").load(single("w"), "v1")
    plan = await planned(stores, pattern_rule())
    assert sources(plan) == ["q.io/team:v1", "q.io/team/a/deep:v1", "q.io/team/b:v1"]
    assert [str(each.copy.target) for each in plan.copies] == ["t.io/team:v1", "t.io/team/a/deep:v1", "t.io/team/b:v1"]
    assert (plan.failures, plan.warnings) == ((), ())


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        ((), (), ["a", "a/x", "b", "b/y"]),
        (("team/a",), (), ["a"]),
        (("q.io/team/a",), (), ["a"]),
        (("team/*",), (), ["a", "b"]),
        (("/^team/b/",), (), ["b", "b/y"]),
        (("/y$/", "team/a"), (), ["a", "b/y"]),
        ((), ("team/*",), ["a/x", "b/y"]),
        ((), ("**/x", "/b/"), ["a"]),
        (("team/a/**",), ("team/a/x",), ["a"]),
        (("nothing",), (), []),
    ],
)
async def test_repositories_are_included_and_excluded(
    include: Sequence[str], exclude: Sequence[str], selected: list[str]
) -> None:
    """By names, globs and regular expressions, as tags are; pushes are matched alike."""
    wanted = RepositoryFilter(
        *(tuple(parse_repository_matcher(one, "q.io") for one in each) for each in (include, exclude))
    )
    rule = replace(pattern_rule(), repositories=wanted)
    stores = stores_with("team/a", "team/a/x", "team/b", "team/b/y", "a", "b")
    assert sources(await planned(stores, rule)) == [f"q.io/team/{path}:v1" for path in selected]
    assert [rule.wants(Repository("q.io", f"team/{path}"), "v1") for path in ("a", "a/x", "b", "b/y")] == [
        path in selected for path in ("a", "a/x", "b", "b/y")
    ]


async def test_rules_of_a_registry_share_one_listing() -> None:
    """However many there are, and at other registries there is one each."""
    stores = stores_with("team/a", "other/b")
    stores.store("w.io/team/x").load(single("w"), "v1")
    rules = [pattern_rule(), pattern_rule("q.io/other/*", name="other"), pattern_rule("w.io/**", name="w")]
    assert sources(await planned(stores, *rules)) == ["q.io/team/a:v1", "q.io/other/b:v1", "w.io/team/x:v1"]
    assert [stores.catalogues[registry].times for registry in ("q.io", "w.io")] == [1, 1]


async def test_too_many_repositories_fail_the_rule_and_change_nothing() -> None:
    """The other rules of the registry go on."""
    stores = stores_with("team/a", "team/b", "team/c", "other/d")
    limited = replace(pattern_rule(), max_repositories=2)
    plan = await planned(stores, limited, pattern_rule("q.io/other/*", name="other"))
    assert sources(plan) == ["q.io/other/d:v1"]
    (failure,) = plan.failures
    assert (failure.rule, failure.source, failure.target) == ("team", "team", "t.io/{repository}")
    assert str(failure.failure).startswith(
        "source: list repositories: q.io/team/**: more than 2 repositories match (narrow the pattern"
    )
    exact = replace(pattern_rule(), max_repositories=3)
    assert len((await planned(stores, exact)).copies) == 3


async def test_a_closed_catalogue_leaves_a_rule_with_its_events() -> None:
    """A warning says so; a rule that nothing else triggers fails, since it would never copy anything."""
    for events in (True, False):
        stores = stores_with("team/a")
        await stores.catalogue(Repository("q.io", "x"))
        stores.catalogues["q.io"].error = CatalogueClosed("q.io does not list its repositories", remedy="name them")
        plan = await planned(stores, pattern_rule(events=events))
        assert plan.copies == ()
        if events:
            assert plan.failures == ()
            assert plan.warnings == (
                "n.yaml:3: team copies on events only: q.io does not list its repositories (name them)",
            )
        else:
            assert plan.warnings == ()
            assert plan.failures[0].failure.is_permanent
            assert "q.io does not list its repositories" in str(plan.failures[0].failure)


async def test_a_rule_for_events_alone_lists_nothing() -> None:
    """No registry is asked, and a warning says what to write."""
    stores = stores_with("team/a")
    plan = await planned(stores, pattern_rule(events=True, lists=False))
    assert (plan.copies, plan.failures, stores.catalogues) == ((), (), {})
    assert plan.warnings[0].endswith("image-syncer serve receives; list: true makes it list the repositories")


async def test_a_pattern_that_matches_nothing_is_a_warning() -> None:
    """As an empty selection of tags."""
    plan = await planned(stores_with("other/a"), pattern_rule())
    assert (plan.copies, plan.failures) == ((), ())
    assert plan.warnings == ("n.yaml:3: team matches no repository",)


async def test_repositories_without_the_tags_of_the_rule_are_left_out() -> None:
    """A name that a rule with one repository would report as missing is not expected in each repository."""
    stores = stores_with("team/a", "team/b")
    stores.store("q.io/team/b").load(single("new"), "v2")
    for selection in (TagNames(("v2",)), TagFilter(("v2", TagGlob.parse("w*")))):
        plan = await planned(stores, replace(pattern_rule(), selection=selection))
        assert (sources(plan), plan.failures, plan.warnings) == (["q.io/team/b:v2"], (), ())


async def test_listed_repositories_without_tags_are_named_in_a_warning() -> None:
    """Distribution lists repositories that hold blobs alone, and answers 404 to their tag list."""
    paths = [f"team/{name}" for name in "abcde"]
    stores = stores_with(*paths)
    for path in paths[1:]:
        stores.store(Repository("q.io", path)).fail("tags", error=NotFound("not there", status=404), times=9)
    plan = await planned(stores, pattern_rule())
    assert (sources(plan), plan.failures) == (["q.io/team/a:v1"], ())
    assert plan.warnings == (
        "n.yaml:3: team: without tags, or not to be read: q.io/team/b, q.io/team/c, q.io/team/d and 1 more",
    )


async def test_a_repository_that_fails_is_retried_alone() -> None:
    """The images of the others keep their results, and the catalogue is not read again."""
    stores = stores_with("team/a", "team/b")
    stores.store("q.io/team/b").fail("tags", error=Unavailable("away", status=503))
    planner = Planner(stores, ManifestReader(stores), width=4)
    first = await planner.select([pattern_rule()])
    assert [str(copy.source) for copy in first.copies] == ["q.io/team/a:v1"]
    assert [(failure.source, failure.target) for failure in first.failures] == [("q.io/team/b", "t.io/{repository}")]
    second = await planner.select(first.repeatable)
    assert [str(copy.source) for copy in second.copies] == ["q.io/team/b:v1"]
    assert second.failures == []
    assert stores.catalogues["q.io"].times == 1


async def test_a_repository_that_keeps_failing_is_one_failure() -> None:
    """With its name as the source."""
    stores = stores_with("team/a", "team/b")
    stores.store("q.io/team/b").fail("tags", error=Unavailable("away", status=503), times=99)
    results = await runner(stores)(pattern_rule())
    assert results["t.io/team/a:v1"].outcome is Outcome.COPIED
    failed = results["t.io/{repository}"]
    assert (failed.source, failed.outcome, failed.step) == ("q.io/team/b", Outcome.FAILED, "list tags")


async def test_a_catalogue_that_fails_is_read_again() -> None:
    """A failure that may pass is retried with the rule."""
    stores = stores_with("team/a")
    await stores.catalogue(Repository("q.io", "x"))
    catalogue = stores.catalogues["q.io"]
    catalogue.error = Unavailable("away", status=503)
    planner = Planner(stores, ManifestReader(stores), width=4)
    first = await planner.select([pattern_rule()])
    assert (first.copies, len(first.failures)) == ([], 1)
    catalogue.error = None
    second = await planner.select(first.repeatable)
    assert [str(copy.source) for copy in second.copies] == ["q.io/team/a:v1"]


async def test_a_stop_before_the_listing_reports_the_rule_as_interrupted() -> None:
    """Nothing is lost from the report."""
    stores = stores_with("team/a")
    stop = Shutdown(drain_seconds=1)
    stop.requested.set()
    selected = await Planner(stores, ManifestReader(stores), width=4).select([pattern_rule()], stop=stop)
    assert [rule.name for rule in selected.unlisted] == ["team"]
    assert selected.copies == []


async def test_names_by_digest_and_date_are_made_in_the_run() -> None:
    """A source is resolved once for all its targets; the copy reads the digest that the name was made of."""
    stores = stores_with("team/a")
    stores.store("q.io/team/a").load(single("b"), "v2")
    targets = ("t.io/{name}:{digest_short}", "t.io/{name}-{digest_short}", "t.io/{name}:{tag}-{date}")
    rule = replace(pattern_rule(), targets=tuple(map(TargetTemplate.parse, targets)))
    planner = Planner(stores, ManifestReader(stores), width=4, date="2026-12-01")
    selected = await planner.select([rule])
    first, second = single("team/a").digest, single("b").digest
    assert [(str(copy.source), str(copy.target)) for copy in selected.copies] == [
        (f"q.io/team/a@{first}", f"t.io/a:{first.encoded[:12]}"),
        (f"q.io/team/a@{second}", f"t.io/a:{second.encoded[:12]}"),
        (f"q.io/team/a@{first}", f"t.io/a-{first.encoded[:12]}:v1"),
        (f"q.io/team/a@{second}", f"t.io/a-{second.encoded[:12]}:v2"),
        ("q.io/team/a:v1", "t.io/a:v1-2026-12-01"),
        ("q.io/team/a:v2", "t.io/a:v2-2026-12-01"),
    ]
    assert stores.store("q.io/team/a").count("resolve") == 2


async def test_a_source_that_cannot_be_resolved_has_no_name() -> None:
    """It is one failure; the others are copied."""
    stores = stores_with("team/a")
    stores.store("q.io/team/a").load(single("b"), "v2")
    stores.store("q.io/team/a").fail("resolve", "v1", Unavailable("away", status=503))
    rule = replace(pattern_rule(), targets=(TargetTemplate.parse("t.io/{name}:{digest_short}"),))
    selected = await Planner(stores, ManifestReader(stores), width=4).select([rule])
    assert [str(copy.target) for copy in selected.copies] == [f"t.io/a:{single('b').digest.encoded[:12]}"]
    (failure,) = selected.failures
    assert (failure.source, failure.target, failure.failure.step) == (
        "q.io/team/a:v1",
        "t.io/{name}:{digest_short}",
        "resolve",
    )


async def test_repositories_that_get_one_name_are_failures_with_both_lines() -> None:
    """Found before anything is copied: the second image fails, and says with which one it collides."""
    stores = stores_with("team/a/app", "team/b/app")
    rule = replace(pattern_rule(), targets=(TargetTemplate.parse("t.io/{name}"),))
    plan = await planned(stores, rule)
    assert sources(plan) == ["q.io/team/a/app:v1"]
    assert str(plan.failures[0].failure) == (
        "target: select: t.io/app:v1: q.io/team/a/app:v1 (rule 'team', n.yaml:3) and "
        "q.io/team/b/app:v1 (rule 'team', n.yaml:3) both write it, from different sources "
        "(give one of them another target)"
    )
