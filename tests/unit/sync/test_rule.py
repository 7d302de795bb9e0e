"""Selection of tags, as in the rules of the Go tool."""

import time

import pytest

from image_syncer.oci import Digest
from image_syncer.sync.pattern import TagGlob
from image_syncer.sync.rule import (
    AllTags,
    ByDigest,
    Selection,
    TagFilter,
    TagNames,
    TagPattern,
    select_tags,
    wants_tag,
)

TAGS = ["1.0", "1.1", "2.0-rc1", "latest", "v3"]


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("1", ["1.0", "1.1", "2.0-rc1"]),
        (r"^\d+\.\d+$", ["1.0", "1.1"]),
        ("^[[:digit:].]+$", ["1.0", "1.1"]),
        ("^[[:alpha:]]+$", ["latest"]),
        ("(?i)LATEST|^v", ["latest", "v3"]),
        ("none", []),
    ],
)
def test_a_pattern_matches_anywhere_in_the_tag(pattern: str, selected: list[str]) -> None:
    """The result has the order of the registry."""
    assert select_tags(TagPattern.parse(pattern), TAGS) == selected


def test_many_names_are_selected_in_linear_time() -> None:
    """A search through all names for each name takes about 20 s of CPU for 20 000 names."""
    names = tuple(f"v{number}" for number in range(20_000))
    started = time.process_time()
    assert TagFilter(names, names[1:]).select(()) == ["v0"]
    assert select_tags(TagFilter(names), names[::-1]) == list(names[::-1])
    selection = TagNames(names)
    assert all(wants_tag(selection, name) for name in names)
    assert time.process_time() - started < 1


def test_other_selections_need_no_listing() -> None:
    """Names are selected without a listing; a digest selects no tag."""
    assert select_tags(TagNames(("b", "a")), []) == ["b", "a"]
    assert select_tags(ByDigest(Digest.of(b"")), TAGS) == []
    assert select_tags(AllTags(), TAGS) == TAGS


SIGNATURE = f"sha256-{Digest.of(b'image').encoded}.sig"
INDEX = f"sha256-{Digest.of(b'image').encoded}"


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (AllTags(), ["1.0"]),
        (TagPattern.parse("."), ["1.0"]),
        (TagFilter(), ["1.0"]),
        (TagFilter((TagGlob.parse("*"),)), ["1.0"]),
        (TagFilter((SIGNATURE, TagGlob.parse("*"))), [SIGNATURE, "1.0"]),
        (TagFilter((), ("1.0",)), []),
        (TagNames((SIGNATURE, INDEX)), [SIGNATURE, INDEX]),
    ],
)
def test_tags_of_referrers_are_selected_by_name_only(selection: Selection, selected: list[str]) -> None:
    """They follow their image, and are no versions of it."""
    listed = [INDEX, SIGNATURE, "1.0"]
    assert sorted(select_tags(selection, listed)) == sorted(selected)
    assert sorted(tag for tag in listed if wants_tag(selection, tag)) == sorted(selected)
