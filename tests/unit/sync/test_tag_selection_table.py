"""The table of tag selection: the tags of a repository, the `tags:` of a rule, and the selected tags in their order.

A tag may have the time since it became public, and after a slash the time since its image was created: `1.2@3d/10d`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from image_syncer.config.duration import parse_long_duration
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from image_syncer.sync.rule import Selection, select_tags, wants_tag
from image_syncer.sync.tag_evaluation import TagEvaluation, TagFacts
from image_syncer.sync.tag_selection import TagSelection

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HEX = "a" * 64
NGINX = "1 1.24 1.24.0 1.25 1.25.0 1.25.3 1.25.3-alpine 1.26.0-rc.1 1.26.0 1.27.1 2.0.0-beta1 latest stable"
KUBE = "v1.28.0 v1.28.5 v1.29.0-rc.2 v1.29.0 v1.29.3 v1.30.1 v1.31.0-alpha.1 v2.0.0"
GO = "1.21 1.21.5 1.21.5-alpine 1.21.5-alpine3.18 1.21.5-alpine3.19 1.22rc1 1.22rc1-alpine 1.22.0 1.22.0-alpine windows"
AGES = "1.0@400d 1.1@90d 1.2@30d 1.3@8d 1.4@7d 1.5@6d 1.6@1h 1.7"
IMAGES = "a@9d/400d b@9d/91d c@9d/90d d@9d/10d e@1d/2d f"

Row = tuple[str, str, str]
"""Tags, `tags:` in YAML, selected tags."""

NAMES: list[Row] = [
    (NGINX, "{}", NGINX),
    (f"1.0 sha256-{HEX} sha256-{HEX}.sig", "{}", "1.0"),
    (f"1.0 sha256-{HEX}.sig", f"[sha256-{HEX}.sig]", f"sha256-{HEX}.sig"),
    (f"1.0 sha256-{HEX}.sig", "{include: '*', latest: {by: name, keep: 9}}", "1.0"),
    (NGINX, "['1.25']", "1.25"),
    (NGINX, "['1.99']", "1.99"),
    (NGINX, "['1.25.*']", "1.25.0 1.25.3 1.25.3-alpine"),
    (NGINX, "['1.2?']", "1.24 1.25"),
    (NGINX, r"['/^1\.2[45]$/']", "1.24 1.25"),
    (NGINX, "['/^[a-z]+$/', '1.99']", "latest stable 1.99"),
    (NGINX, "{include: '1.25*', exclude: '*-alpine'}", "1.25 1.25.0 1.25.3"),
    (NGINX, "{include: ['1.25', '1.26'], exclude: '1.25'}", "1.26"),
    (NGINX, "{exclude: ['/[a-z]/', '1', '1.2?']}", "1.24.0 1.25.0 1.25.3 1.26.0 1.27.1"),
]

VERSIONS: list[Row] = [
    (NGINX, "{semver: '>=1.25 <2 || 3.x'}", "1.25 1.25.0 1.25.3 1.26.0 1.27.1"),
    (NGINX, "{semver: '*'}", "1 1.24 1.24.0 1.25 1.25.0 1.25.3 1.26.0 1.27.1"),
    (NGINX, "{semver: '^1.25.1'}", "1.25.3 1.26.0 1.27.1"),
    (NGINX, "{semver: '~1.25'}", "1.25 1.25.0 1.25.3"),
    (NGINX, "{semver: '1.24 - 1.25'}", "1.24 1.24.0 1.25 1.25.0 1.25.3"),
    (NGINX, "{semver: '>= 1.25, < 1.27'}", "1.25 1.25.0 1.25.3 1.26.0"),
    (NGINX, "{semver: 3.x}", ""),
    (NGINX, "{semver: '>=1.26', prereleases: true}", "1.26.0-rc.1 1.26.0 1.27.1 2.0.0-beta1"),
    (NGINX, "{semver: '>=1.27 <2', prereleases: true}", "1.27.1"),
    (NGINX, "{semver: '>=1.26.0-rc.1 <1.27'}", "1.26.0-rc.1 1.26.0"),
    (NGINX, "{semver: '>=1.26.0-rc.2 <1.27', prereleases: true}", "1.26.0"),
    (NGINX, "{semver: '>=1.25 <2', suffix: -alpine}", "1.25.3-alpine"),
    (NGINX, "{semver: '>=1.25.1 <1.26', suffix: ['', -alpine]}", "1.25.3 1.25.3-alpine"),
    (NGINX, "{semver: 1.25.x, exclude: '1.25'}", "1.25.0 1.25.3"),
    (NGINX, "{include: '*.*.*', semver: 1.25.x}", "1.25.0 1.25.3"),
    (NGINX, "{include: [latest, '1.25.3'], semver: 1.x}", "1.25.3"),
    (NGINX, "{include: ['1.25.3', '1.25.9', '1.9.9'], semver: '>=1.25'}", "1.25.3 1.25.9"),
    (KUBE, "{semver: '>=1.28 <1.30'}", "v1.28.0 v1.28.5 v1.29.0 v1.29.3"),
    (KUBE, "{semver: '>=v1.29'}", "v1.29.0 v1.29.3 v1.30.1 v2.0.0"),
    (KUBE, "{semver: '~1.29', prereleases: true}", "v1.29.0-rc.2 v1.29.0 v1.29.3"),
    (GO, "{semver: 1.x}", "1.21 1.21.5 1.22.0"),
    (GO, "{semver: 1.x, prereleases: true}", "1.21 1.21.5 1.22rc1 1.22.0"),
    (GO, "{semver: 1.x, suffix: -alpine}", "1.21.5-alpine 1.22.0-alpine"),
    (GO, "{suffix: '-alpine?*'}", "1.21.5-alpine3.18 1.21.5-alpine3.19"),
    (GO, r"{suffix: '/^-alpine3\.19$/'}", "1.21.5-alpine3.19"),
    (GO, "{suffix: -alpine, prereleases: true}", "1.21.5-alpine 1.22rc1-alpine 1.22.0-alpine"),
    (GO, "{suffix: ['', '*'], semver: <1.22}", "1.21 1.21.5 1.21.5-alpine 1.21.5-alpine3.18 1.21.5-alpine3.19"),
    ("22.04 23.10 24.04 jammy 20240115 1234567", "{semver: '>=23'}", "23.10 24.04"),
    ("9.9.0.100 9.9.1.50 10.0.0.1", "{semver: ~9.9}", "9.9.0.100 9.9.1.50"),
    ("1.0.0_build.1 1.0.0 1.0.1-debian-12-r5", "{semver: 1.x, suffix: '-debian-12-r*'}", "1.0.1-debian-12-r5"),
]

LATEST: list[Row] = [
    (NGINX, "{latest: 2}", "1.26.0 1.27.1"),
    (NGINX, "{latest: 1, prereleases: true}", "2.0.0-beta1"),
    (NGINX, "{latest: 100}", "1 1.24 1.24.0 1.25 1.25.0 1.25.3 1.26.0 1.27.1"),
    ("1.9.0 1.10.0 1.10 1.8.0", "{latest: 1}", "1.10.0 1.10"),
    ("1.0.0-rc.2 1.0.0-rc.10 1.0.0-beta", "{latest: 1, prereleases: true}", "1.0.0-rc.10"),
    ("1.0.0 1.0.0-rc.2", "{latest: 1, prereleases: true}", "1.0.0"),
    ("9.9.0.100 9.9.0.99", "{latest: 1}", "9.9.0.100"),
    (NGINX, "{semver: <1.26, latest: 1}", "1.25.3"),
    (NGINX, "{exclude: 1.27.1, latest: 1}", "1.26.0"),
    (NGINX, "{semver: '*', suffix: ['', -alpine], latest: 3}", "1.25.3 1.25.3-alpine 1.26.0 1.27.1"),
    (KUBE, "{latest: {keep: 1, per: minor}}", "v1.28.5 v1.29.3 v1.30.1 v2.0.0"),
    (KUBE, "{latest: {keep: 1, per: minor, groups: 3}}", "v1.29.3 v1.30.1 v2.0.0"),
    (KUBE, "{semver: 1.x, latest: {keep: 2, per: minor, groups: 2}}", "v1.29.0 v1.29.3 v1.30.1"),
    (KUBE, "{latest: {keep: 1, per: major}}", "v1.30.1 v2.0.0"),
    (KUBE, "{latest: {keep: 2, by: semver, per: none}}", "v1.30.1 v2.0.0"),
    ("b10 b9 b1 a99", "{latest: {by: name, keep: 2}}", "b10 b9"),
    ("2026-01-09 2026-01-10 2025-12-31", "{latest: {by: name, keep: 2}}", "2026-01-09 2026-01-10"),
    ("x1 x01 x2", "{latest: {by: name, keep: 2}}", "x1 x2"),
    (NGINX, "{include: [latest, '1.*'], latest: 1}", "1.27.1"),
    ("1.0 2.0", "{include: ['*', '3.0'], latest: 1}", "2.0 3.0"),
    ("", "{latest: 3}", ""),
]

DATES: list[Row] = [
    (AGES, "{min_age: 7d}", "1.0 1.1 1.2 1.3 1.4"),
    (AGES, "{min_age: 1h}", "1.0 1.1 1.2 1.3 1.4 1.5 1.6"),
    (AGES, "{min_age: 7d, latest: 2}", "1.3 1.4"),
    (AGES, "{exclude: '1.4', min_age: 7d, latest: 2}", "1.2 1.3"),
    (AGES, "{semver: '<1.3', min_age: 60d}", "1.0 1.1"),
    (AGES, "{include: ['1.7', '9.9'], min_age: 7d}", "9.9"),
    (AGES, "{min_age: 0s}", "1.0 1.1 1.2 1.3 1.4 1.5 1.6 1.7"),
    (IMAGES, "{newer_than: 90d}", "c d e f"),
    (IMAGES, "{newer_than: 90d, min_age: 7d}", "c d"),
    (IMAGES, "{newer_than: 20d, latest: {by: name, keep: 2}}", "e f"),
    (IMAGES, "{latest: {by: date, keep: 2}}", "e f"),
    (IMAGES, "{min_age: 2d, latest: {by: date, keep: 2}}", "c d"),
    ("a@9d/5d b@9d/5d c@9d/6d", "{latest: {by: date, keep: 1}}", "b"),
]

GUARDED: list[Row] = [
    (NGINX, "{min_tags: 13}", NGINX),
    (NGINX, "{min_tags: 14}", "13 of 13 listed tags are left, min_tags is 14"),
    ("", "{min_tags: 1}", "0 of 0 listed tags are left, min_tags is 1"),
    (NGINX, "{min_tags: 3, latest: 1}", "1.27.1"),
    (NGINX, "{min_tags: 9, latest: 1}", "8 of 13 listed tags are left, min_tags is 9"),
    (NGINX, "{include: ['1.25', '1.98', '1.99'], min_tags: 2}", "1 of 13 listed tags are left, min_tags is 2"),
    (AGES, "{min_age: 7d, min_tags: 5}", "1.0 1.1 1.2 1.3 1.4"),
    (AGES, "{min_age: 7d, min_tags: 8}", "1.0 1.1 1.2 1.3 1.4"),
    (AGES, "{min_age: 7d, min_tags: 9}", "8 of 8 listed tags are left, min_tags is 9"),
]

TABLE = [*NAMES, *VERSIONS, *LATEST, *DATES, *GUARDED]


def selection_of(directory: Path, tags: str) -> Selection:
    """Return the selection of a rule with *tags*."""
    path = directory / "rule.yaml"
    path.write_text(f"version: 1\nrules: [{{name: one, source: q.io/a, targets: t.io/a, tags: {tags}}}]\n")
    return load_file(path, platforms=PlatformFilter(), environment={}).rules[0].selection


def facts_of(words: Sequence[str]) -> TagFacts:
    """Return the dates in *words* such as `1.2@3d/10d`."""
    published: dict[str, datetime] = {}
    created: dict[str, datetime] = {}
    for word in words:
        tag, has_dates, dates = word.partition("@")
        public, has_created, made = dates.partition("/")
        if has_dates:
            published[tag] = NOW - parse_long_duration(public)
        if has_created:
            created[tag] = NOW - parse_long_duration(made)
    return TagFacts(NOW, published, created)


def evaluate(selection: Selection, words: str) -> str:
    """Return the tags that *selection* selects from *words*, or why it fails."""
    tags = [word.partition("@")[0] for word in words.split()]
    if not isinstance(selection, TagSelection):
        return " ".join(select_tags(selection, tags))
    evaluation = TagEvaluation.complete(selection, tags, facts_of(words.split()))
    return evaluation.shortfall or " ".join(evaluation.selected)


@pytest.mark.parametrize(("words", "tags", "selected"), TABLE)
def test_a_rule_selects_these_tags(tmp_path: Path, words: str, tags: str, selected: str) -> None:
    """Each row of the table; each tag has a reason, and the name of a selected one fits a push of it."""
    selection = selection_of(tmp_path, tags)
    assert evaluate(selection, words) == selected
    if isinstance(selection, TagSelection) and "min_tags is" not in selected:
        listed = [word.partition("@")[0] for word in words.split()]
        evaluation = TagEvaluation.complete(selection, listed, facts_of(words.split()))
        explained = {tag: evaluation.explain(tag) for tag in {*listed, *selected.split()}}
        assert {tag for tag, why in explained.items() if why.is_selected} == set(selected.split())
        assert all(why.reason for why in explained.values())
        assert all(wants_tag(selection, tag) for tag in selected.split())


def test_the_table_has_rows_enough() -> None:
    """At least 60, and none twice."""
    assert len(TABLE) >= 60
    assert len(set(TABLE)) == len(TABLE)


@pytest.mark.parametrize(
    ("tags", "tag", "reason"),
    [
        ("{semver: '>=1.25 <2'}", "latest", "is no version"),
        ("{semver: '>=1.25 <2'}", "1.24", "is not in semver '>=1.25 <2'"),
        ("{semver: '>=1.25 <2'}", "1.25.3-alpine", "has the suffix '-alpine'; suffix is ''"),
        ("{semver: '>=1.25 <2'}", "1.26.0-rc.1", "is a prerelease"),
        ("{semver: '>=1.25 <2'}", "1.25.7", "the registry does not list it"),
        ("{semver: '>=1.25 <2'}", "1.25.3", "fits semver >=1.25 <2"),
        ("{include: '1.2*', latest: 1}", "stable", "matches nothing in include"),
        ("{include: '1.2*', latest: 1}", "1.25.3", "is not among the 1 latest by semver"),
        ("{include: '1.*', exclude: '*.*.*', min_tags: 1}", "1.25.3", "matches '*.*.*' in exclude"),
        (
            "{latest: {keep: 1, per: minor, groups: 2}}",
            "1",
            "is not among the 1 latest by semver per minor of the 2 newest",
        ),
        ("{min_tags: 1}", f"sha256-{HEX}.sig", "belongs to another image: a signature, an SBOM or an attestation"),
        ("{include: ['9.9', '1.*'], min_tags: 1}", "9.9", "include names it; the registry does not list it"),
        ("{min_age: 7d}", "young", "public for 2d, min_age is 7d"),
        ("{min_age: 7d}", "new", "public for 0s, min_age is 7d"),
        ("{newer_than: 90d}", "old", "created 120d ago, newer_than is 90d"),
        ("{min_age: 36h, newer_than: 90d}", "young", "fits public for 1d12h; newer than 90d"),
        ("{suffix: ['', -alpine], prereleases: true}", "1.25", "fits versions with suffix ,-alpine and prereleases"),
    ],
)
def test_the_reason_is_that_of_the_first_step(tmp_path: Path, tags: str, tag: str, reason: str) -> None:
    """It names the key that decides, and its value."""
    words = f"{NGINX} sha256-{HEX}.sig young@2d/9d new old@130d/120d".split()
    selection = selection_of(tmp_path, tags)
    assert isinstance(selection, TagSelection)
    listed = [word.partition("@")[0] for word in words]
    assert TagEvaluation.complete(selection, listed, facts_of(words)).explain(tag).reason == reason
