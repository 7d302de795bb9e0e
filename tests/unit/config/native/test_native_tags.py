"""The `tags:` of rules in the native file: what it means, and what is refused."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.sync.pattern import TagGlob
from image_syncer.sync.rule import Rule
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_pattern import TagPattern
from image_syncer.sync.tag_selection import Latest, TagSelection, TagVersions
from image_syncer.sync.versions import VersionRange

DAY = 86_400.0


def rule(directory: Path, tags: str, more: str = "") -> Rule:
    """Return the rule of a file with *tags*, and *more* keys."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\nrules:\n - name: one\n   source: q.io/a\n   targets: t.io/a\n   tags: {tags}\n{more}")
    return load_file(path, platforms=PlatformFilter(), environment={}).rules[0]


@pytest.mark.parametrize(
    ("tags", "selection"),
    [
        (
            "{include: ['1.*', latest], exclude: '/-rc/', semver: '>=1.25', suffix: ['', -alpine], prereleases: true}",
            TagSelection(
                TagFilter((TagGlob.parse("1.*"), "latest"), (TagPattern("-rc"),)),
                TagVersions(VersionRange(">=1.25"), ("", "-alpine"), prereleases=True),
            ),
        ),
        ("{min_age: 7d, newer_than: 400d, min_tags: 3}", TagSelection(TagFilter(), None, 7 * DAY, 400 * DAY, None, 3)),
        ("{latest: 5}", TagSelection(TagFilter(), TagVersions(), latest=Latest(5))),
        (
            "{latest: {keep: 2, by: semver, per: minor, groups: 3}}",
            TagSelection(TagFilter(), TagVersions(), latest=Latest(2, "semver", "minor", 3)),
        ),
        ("{latest: {by: date, keep: 5}}", TagSelection(TagFilter(), latest=Latest(5, "date"))),
        ("{suffix: -alpine, prereleases: false}", TagSelection(TagFilter(), TagVersions(suffixes=("-alpine",)))),
        ("{suffix: ['-x*', '/^-y/', _z]}", None),
    ],
)
def test_keys_make_a_selection(tmp_path: Path, tags: str, selection: TagSelection | None) -> None:
    """A number as `latest` is its `keep`; `latest` by version reads tags as versions."""
    if selection is None:
        matchers = TagGlob.parse("-x*"), TagPattern("^-y"), "_z"
        selection = TagSelection(TagFilter(), TagVersions(suffixes=matchers))
    assert rule(tmp_path, tags).selection == selection


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("{semver: latest}", "'latest': not a range of versions (write a range such as"),
        ("{semver: ''}", "rules[0].tags.semver: "),
        ("{suffix: alpine}", "'alpine': no suffix of a version (it begins with -, _ or a dot"),
        ("{suffix: '/(/'}", "/(/: not a regular expression"),
        ("{suffix: []}", "rules[0].tags.suffix: "),
        (
            "{prereleases: true}",
            "prereleases needs semver, suffix or latest by semver (write semver: '*' too)",
        ),
        ("{prereleases: 'yes', semver: '*'}", "expected true or false, without quotes"),
        ("{latest: 0}", "rules[0].tags.latest: "),
        ("{latest: many}", "rules[0].tags.latest: "),
        ("{latest: {keep: 1, by: age}}", "rules[0].tags.latest.by: unknown value 'age'"),
        ("{latest: {by: date}}", "rules[0].tags.latest: keep is missing"),
        ("{latest: {keep: 1, by: date, per: minor}}", "latest: per: minor needs by: semver (leave per out)"),
        ("{latest: {keep: 1, groups: 2}}", "latest: groups needs per: major or per: minor"),
        ("{min_age: 7}", "rules[0].tags.min_age: expected a duration with its unit"),
        ("{min_age: 400d}", "rules[0].tags.min_age: longer than a year"),
        ("{newer_than: 20000d}", "rules[0].tags.newer_than: longer than 30 years"),
        (
            "{newer_than: 7d, min_age: 7d}",
            "newer_than is not longer than min_age, so no tag would be selected",
        ),
        ("{min_tags: 0}", "rules[0].tags.min_tags: "),
        ("{minage: 7d}", "rules[0].tags: unknown key 'minage' (did you mean min_age?)"),
    ],
)
def test_a_bad_value_is_an_error_of_one_line(tmp_path: Path, tags: str, message: str) -> None:
    """It has the file, the line, the key, and what to do."""
    with pytest.raises(UsageError) as caught:
        rule(tmp_path, tags)
    assert str(caught.value).startswith(f"{tmp_path}/n.yaml:6:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_event_alone_cannot_trigger_a_rule_that_waits(tmp_path: Path) -> None:
    """At the time of an event no image is old enough; a schedule copies it later."""
    with pytest.raises(UsageError, match=r"min_age: .* so nothing would be copied \(add every: or cron:"):
        rule(tmp_path, "{min_age: 7d}", "   on: event\n")
    assert rule(tmp_path, "{min_age: 7d}", "   on: event\n   every: 6h\n").triggers.events
    assert rule(tmp_path, "{semver: 1.x}", "   on: event\n").triggers.events


def test_several_errors_are_reported_in_one_round(tmp_path: Path) -> None:
    """One line for each."""
    with pytest.raises(UsageError) as caught:
        rule(tmp_path, "{semver: x, suffix: [alpine, beta], include: '[', latest: {keep: 1, groups: 1}}")
    assert len(str(caught.value).splitlines()) == 4
