"""Versions in tags, their order, and ranges of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference
from image_syncer.sync.versions import TagVersion, VersionRange, parse_version


def version(numbers: str, prerelease: tuple[str, tuple[int, ...]] | None = None, suffix: str = "") -> TagVersion:
    """Return a version with four *numbers*."""
    first, second, third, fourth = map(int, numbers.split("."))
    return TagVersion((first, second, third, fourth), prerelease, suffix)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("1", version("1.0.0.0")),
        ("v1.25", version("1.25.0.0")),
        ("V1.25.3", version("1.25.3.0")),
        ("9.9.0.65466", version("9.9.0.65466")),
        ("22.04", version("22.4.0.0")),
        ("1.25.3-alpine", version("1.25.3.0", None, "-alpine")),
        ("1.2.3_build.5", version("1.2.3.0", None, "_build.5")),
        ("3.0.0.Final", version("3.0.0.0", None, ".Final")),
        ("1.28.5-k3s1", version("1.28.5.0", None, "-k3s1")),
        ("1.2.3-5", version("1.2.3.0", None, "-5")),
        ("1.2.3-b12", version("1.2.3.0", None, "-b12")),
        ("1.2.3-rcfoo", version("1.2.3.0", None, "-rcfoo")),
        ("8-jdk", version("8.0.0.0", None, "-jdk")),
        ("1.26.0-rc.1", version("1.26.0.0", ("rc", (1,)))),
        ("1.26.0-RC1", version("1.26.0.0", ("rc", (1,)))),
        ("3.13.0a4-slim", version("3.13.0.0", ("alpha", (4,)), "-slim")),
        ("1.22rc1-alpine3.19", version("1.22.0.0", ("rc", (1,)), "-alpine3.19")),
        ("2.0.0-M1", version("2.0.0.0", ("milestone", (1,)))),
        ("1.0.0-alpha.1.2", version("1.0.0.0", ("alpha", (1, 2)))),
        ("24-ea-5", version("24.0.0.0", ("ea", (5,)))),
        ("1.2.3-SNAPSHOT", version("1.2.3.0", ("snapshot", ()))),
        ("latest", None),
        ("20240115", None),
        ("1234567", None),
        ("12ab34c", None),
        ("1..2", None),
        ("1.2.", None),
        ("v", None),
        ("vv1", None),
        ("1.2.3.4.5", None),
        ("alpine-1.2", None),
    ],
)
def test_a_tag_names_a_version(tag: str, expected: TagVersion | None) -> None:
    """Prereleases are known words; the rest of a tag is its suffix."""
    assert parse_version(tag) == expected


def test_versions_are_ordered_by_numbers_and_then_by_prerelease() -> None:
    """Numbers compare as numbers, words as words, and a release comes after its prereleases."""
    tags = [
        "0.9",
        "1.0.0-alpha",
        "1.0.0-alpha.2",
        "1.0.0-beta",
        "1.0.0-rc.2",
        "1.0.0-rc.10",
        "1.0.0",
        "1.0.0.1",
        "1.0.1",
        "1.2",
        "1.10",
        "2",
    ]
    orders = [found.order for tag in reversed(tags) if (found := parse_version(tag)) is not None]
    assert sorted(orders) == list(reversed(orders))
    assert len(set(orders)) == len(tags)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.25 <2 || 3.x", "1.25 1.99.9 3.0 3.7.1", "1.24.9 2 2.9 4"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 1.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3 1.2.2"),
        ("1.2 - 1.4", "1.2 1.4.9", "1.5 1.1.9"),
        ("> 1, <= 3", "2 3 3.9", "1 1.9 4"),
        (">=v22.04", "22.04 22.10 23", "21.10 22.03"),
        ("=1.2.3", "1.2.3 1.2.3.4", "1.2.4"),
        ("*", "0 1.2 99", ""),
        (">=1.25.0-rc2", "1.25.0-rc.2 1.25.0-rc10 1.25 1.26", "1.25.0-rc1 1.25.0-beta.9 1.26.0-rc.1 1.24"),
        ("<1.26", "1.25.9", "1.26.0-rc.1 1.26 1.25.0-rc.1"),
    ],
)
def test_a_range_has_versions(text: str, inside: str, outside: str) -> None:
    """Ranges are those of npm; blanks after an operator, `v`, leading zeros and commas are allowed."""
    wanted = VersionRange.parse(text)
    for tag, expected in [(tag, True) for tag in inside.split()] + [(tag, False) for tag in outside.split()]:
        found = parse_version(tag)
        assert found is not None
        assert wanted.has(found) is expected, tag


@pytest.mark.parametrize("text", ["", " ", "latest", "1.2 ||", ">=", "1.2.3.4", ">>1", "1" * 1001])
def test_other_texts_are_no_range(text: str) -> None:
    """The error says what a range looks like."""
    with pytest.raises(InvalidReference, match=r"range of versions.*write a range such as"):
        VersionRange.parse(text)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True))
def test_every_tag_is_read(tag: str) -> None:
    """No tag raises, and a version with its suffix is a part of the tag."""
    found = parse_version(tag)
    if found is not None:
        assert tag.endswith(found.suffix)
        assert found.order <= found.order
        assert VersionRange.parse("*").has(found, prereleases=True)


@pytest.mark.parametrize("tag", ["1" * 128, "1." * 64, "1.2.3-rc" + "-1" * 60, "1.2.3" + "-" * 120, "v" * 128])
def test_no_tag_takes_long(tag: str) -> None:
    """The pattern does not backtrack: 2 000 tags of the greatest length take a fraction of a second."""
    began = time.process_time()
    for _ in range(2_000):
        parse_version(tag)
    assert time.process_time() - began < 5
