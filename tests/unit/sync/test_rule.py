"""Selection of tags, as the Go tool's rules mean it."""

import pytest

from image_syncer.oci import Digest
from image_syncer.sync.rule import AllTags, ByDigest, TagNames, TagPattern, select_tags

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
def test_a_pattern_is_found_anywhere_in_the_tag(pattern: str, selected: list[str]) -> None:
    """Unanchored, in the registry's order, with Go's character classes."""
    assert select_tags(TagPattern.parse(pattern), TAGS) == selected


def test_other_selections_need_no_listing() -> None:
    """Names are taken as they stand, a digest selects no tag, and all tags are all."""
    assert select_tags(TagNames(("b", "a")), []) == ["b", "a"]
    assert select_tags(ByDigest(Digest.of(b"")), TAGS) == []
    assert select_tags(AllTags(), TAGS) == TAGS
