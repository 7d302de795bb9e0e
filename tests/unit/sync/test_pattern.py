"""Source patterns, target templates and tag globs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, Repository
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate
from image_syncer.sync.rule import AllTags, TagNames, select_tags, wants_tag
from image_syncer.sync.tag_filter import TagFilter, TagMatcher

PARTS = st.lists(st.from_regex(r"[a-z0-9]{1,8}(?:[._-][a-z0-9]{1,8})?", fullmatch=True), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("q.io/team/*", ["team/a"], ["team", "team/a/b", "teams/a", "x/team/a"]),
        ("q.io/team/**", ["team", "team/a", "team/a/b"], ["teams", "x/team"]),
        ("q.io/**", ["a", "a/b/c"], []),
        ("q.io/**/app", ["app", "a/app", "a/b/app"], ["app/a", "xapp"]),
        ("q.io/a/**/b/**/c", ["a/b/c", "a/x/b/y/b/c"], ["a/c", "a/b", "b/c"]),
        ("q.io/*-base/app-*.x", ["py-base/app-1.x"], ["base/app-1.x", "py-base/app-1-x", "py-base/a/app-1.x"]),
        ("q.io/a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_pattern_matches_repositories(pattern: str, matching: list[str], others: list[str]) -> None:
    """One star matches within a path component, two match any number of components."""
    meant = SourcePattern.parse(pattern)
    assert [path for path in (*matching, *others) if meant.matches(Repository("q.io", path))] == matching
    assert not any(meant.matches(Repository("w.io", path)) for path in matching)


@given(PARTS, st.data())
def test_a_pattern_made_from_a_repository_matches_it(parts: list[str], data: st.DataObject) -> None:
    """Any components may become stars."""
    open_parts = [data.draw(st.sampled_from([part, "*", "**", f"{part[0]}*", f"*{part[-1]}"])) for part in parts]
    pattern = "/".join(open_parts)
    repository = Repository("q.io", "/".join(parts))
    assert SourcePattern.of("q.io", pattern).matches(repository)
    assert SourcePattern.parse("q.io/**").matches(repository)


@given(PARTS, PARTS)
def test_a_pattern_without_stars_matches_only_itself(one: list[str], other: list[str]) -> None:
    """Dots and dashes are literal."""
    pattern = SourcePattern.of("q.io", "/".join(one))
    assert pattern.matches(Repository("q.io", "/".join(other))) is (one == other)


def test_matching_the_worst_pattern_is_fast() -> None:
    """Matching does not backtrack: its time is linear in the length of the name."""
    pattern = SourcePattern.of("q.io", "/".join(["**", "a*a*a*a*b"] * 20))
    began = time.process_time()
    assert not pattern.matches(Repository("q.io", "/".join(["a" * 60] * 4)))
    assert not pattern.matches(Repository("q.io", "/".join(["a"] * 120)))
    assert time.process_time() - began < 2


def test_docker_hubs_short_names_are_expanded() -> None:
    """`docker.io/*` matches the official images under one registry name."""
    assert str(SourcePattern.parse("index.docker.io/ng*")) == "docker.io/library/ng*"
    assert SourcePattern.parse("docker.io/*").matches(Repository.parse("nginx"))
    assert str(SourcePattern.parse("docker.io/**")) == "docker.io/**"
    assert SourcePattern.parse("docker.io/**").sample == Repository.parse("x")


@pytest.mark.parametrize(
    "text", ["**", "team/**", "q.io", "q.io/", "q.io/a**", "q.io/A*", "q.io//*", "*.io/a", "q.io/[a]*"]
)
def test_an_invalid_pattern_is_refused(text: str) -> None:
    """A pattern without a registry is invalid too."""
    with pytest.raises(InvalidReference):
        SourcePattern.parse(text)


@pytest.mark.parametrize(
    ("template", "target"),
    [
        ("t.io/x", "t.io/x:v1"),
        ("t.io/x:new", "t.io/x:new"),
        ("t.io:5000/{repository}", "t.io:5000/team/app:v1"),
        ("t.io/{registry}/{repository}:{tag}-{tag}", "t.io/q.io/team/app:v1-v1"),
        ("docker.io/x", "docker.io/library/x:v1"),
    ],
)
def test_a_template_makes_a_target(template: str, target: str) -> None:
    """Placeholders stand for the registry, the whole path and the tag of the source."""
    assert str(TargetTemplate.parse(template).fill(Repository("q.io", "team/app").tag("v1"))) == target


def test_a_digest_is_kept_unless_the_template_has_a_tag() -> None:
    """A fixed tag of the template replaces the digest."""
    source = Repository("q.io", "a").at(Digest.of(b""))
    assert TargetTemplate.parse("t.io/x").fill(source) == source.in_repository(Repository("t.io", "x"))
    assert str(TargetTemplate.parse("t.io/x:new").fill(source)) == "t.io/x:new"


@pytest.mark.parametrize("text", ["x", "team/x", "t.io/x@sha256:abc", "t.io/{tag}", "t.io/x:{repository}", "t.io/{}"])
def test_an_invalid_target_is_refused(text: str) -> None:
    """A target names its registry, and has placeholders only where they are allowed."""
    with pytest.raises(InvalidReference):
        TargetTemplate.parse(text)


TAGS = ["1.0", "1.1-rc1", "2.0", "latest"]


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        ((), (), TAGS),
        ((TagGlob.parse("1.*"),), (), ["1.0", "1.1-rc1"]),
        ((TagGlob.parse("?.0"),), ("2.0",), ["1.0"]),
        ((), (TagGlob.parse("*-rc*"), "latest"), ["1.0", "2.0"]),
        (("latest", "gone", TagGlob.parse("9*")), (), ["latest", "gone"]),
        (("gone",), ("gone",), []),
    ],
)
def test_a_filter_includes_and_excludes(
    include: tuple[TagMatcher, ...], exclude: tuple[TagMatcher, ...], selected: list[str]
) -> None:
    """A name that the registry does not list is selected too, so that its absence is reported."""
    wanted = TagFilter(include, exclude)
    assert select_tags(wanted, TAGS) == selected
    assert [tag for tag in TAGS if wants_tag(wanted, tag)] == [tag for tag in selected if tag in TAGS]


def test_names_and_all_tags_are_selected_without_a_listing() -> None:
    """An event is matched without a request."""
    assert wants_tag(AllTags(), "x")
    assert [tag for tag in TAGS if wants_tag(TagNames(("2.0", "3.0")), tag)] == ["2.0"]


@pytest.mark.parametrize("text", ["", "v1", "a b*", "*/x", "x" * 128 + "*", ".x"])
def test_an_invalid_glob_is_refused(text: str) -> None:
    """A glob can match some tag, and is not a tag itself."""
    with pytest.raises(InvalidReference):
        TagGlob.parse(text)
