"""Which copies follow from a push."""

from image_syncer.events.matching import copies_for, match_push
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate
from image_syncer.sync.rule import AllTags, Rule, RuleTarget, Selection, TagFilter, TagNames, Triggers

APP = Repository("q.io", "team/app")
EVENTS = Triggers(events=True)


def rule(
    name: str, *targets: str, source: str = "team/**", selection: Selection | None = None, triggers: Triggers = EVENTS
) -> Rule:
    """Return a rule for repositories of q.io."""
    ends = tuple(TargetTemplate.parse(target) for target in targets)
    return Rule(name, SourcePattern.of("q.io", source), selection or AllTags(), ends, triggers=triggers)


def test_every_rule_that_wants_the_tag_has_its_copies() -> None:
    """In the rules' order, each target filled in, and each pair once."""
    rules = [
        rule("all", "a.io/{repository}", "b.io/{registry}/{repository}:{tag}-copy"),
        rule("again", "a.io/{repository}", "c.io/x:new"),
        rule("other", "d.io/x", source="other/**"),
    ]
    assert [(copy.rule, str(copy.source), str(copy.target)) for copy in copies_for(APP, "v1", rules)] == [
        ("all", "q.io/team/app:v1", "a.io/team/app:v1"),
        ("all", "q.io/team/app:v1", "b.io/q.io/team/app:v1-copy"),
        ("again", "q.io/team/app:v1", "c.io/x:new"),
    ]


def test_the_selection_decides_whether_a_tag_is_wanted() -> None:
    """Names, globs and exclusions; an unselected tag leads to no copy."""
    wanted = TagFilter((TagGlob.parse("v*"), "latest"), (TagGlob.parse("*-rc?"),))
    rules = [rule("some", "a.io/x", selection=wanted)]
    tags = ("v1", "latest", "v1-rc1", "w1", "latest-1")
    assert [tag for tag in tags if copies_for(APP, tag, rules)] == ["v1", "latest"]


def test_rules_without_events_are_left_alone() -> None:
    """A rule for the clock does not follow pushes."""
    assert copies_for(APP, "v1", [rule("clock", "a.io/x", triggers=Triggers())]) == []


def test_a_rule_for_one_repository_follows_its_pushes() -> None:
    """No pattern is needed, and the platform filter travels along."""
    platforms = PlatformFilter.parse(["linux"])
    one = Rule("one", APP, TagNames(("v1",)), (RuleTarget(Repository("a.io", "x")),), platforms, "", EVENTS)
    (copy,) = copies_for(APP, "v1", [one])
    assert (str(copy.target), copy.platforms) == ("a.io/x:v1", platforms)
    assert copies_for(Repository("q.io", "team/app2"), "v1", [one]) == copies_for(APP, "v2", [one]) == []


def test_the_same_path_elsewhere_is_another_repository() -> None:
    """A pattern is about one registry; Docker Hub's names are one."""
    rules = [rule("all", "a.io/{repository}")]
    assert copies_for(Repository("w.io", "team/app"), "v1", rules) == []


def test_a_target_that_is_no_name_fails_alone() -> None:
    """The other targets get their copies, and the failure says which rule and why."""
    found = match_push(APP, "v" * 128, [rule("long", "a.io/x:{tag}-copy", "b.io/x")])
    assert [str(copy.target.repository) for copy in found.copies] == ["b.io/x"]
    (failure,) = found.failures
    assert (failure.rule, failure.target) == ("long", "a.io/x:{tag}-copy")
    assert "not a tag" in str(failure.failure)


def test_positional_tags_of_the_go_tools_rules_fail_with_their_reason() -> None:
    """Which of several new names is meant cannot be known from one push."""
    target = RuleTarget(Repository("a.io", "x"), ("n1", "n2"))
    found = match_push(APP, "v1", [Rule("pos", APP, AllTags(), (target,), triggers=EVENTS)])
    assert found.copies == ()
    assert "selects 1 tags, but a.io/x:n1,n2 names 2" in str(found.failures[0].failure)
