"""Copies are grouped by image, and rules take turns."""

from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.run import group_by_image, round_robin

DIGEST = Digest.of(b"image")
AMD64 = PlatformFilter.parse(platforms=["linux/amd64"])


def planned(source: str, target: str, digest: Digest = DIGEST, platforms: PlatformFilter | None = None) -> PlannedCopy:
    """Return a planned copy with this source and target."""
    copy = Copy("rule", Reference.parse(source), Reference.parse(target), platforms or PlatformFilter())
    return PlannedCopy(copy, Action.COPY, digest, digest)


def test_tags_of_one_image_at_one_target_form_one_group() -> None:
    """Another digest, source repository, platform filter or target repository makes another group."""
    one = [planned("a.io/app:1", "b.io/app:1"), planned("a.io/app:latest", "b.io/app:latest")]
    others = [
        planned("a.io/app:2", "b.io/app:2", Digest.of(b"other")),
        planned("a.io/fork:1", "b.io/fork:1"),
        planned("a.io/app:1", "b.io/app:small", platforms=AMD64),
        planned("a.io/app:1", "c.io/app:1"),
    ]
    groups = group_by_image([one[0], others[0], one[1], *others[1:]])
    assert groups == [one, *([other] for other in others)]


def test_owners_take_turns() -> None:
    """An owner with many items does not delay the others, and each keeps its order."""
    items = ["a1", "a2", "a3", "a4", "b1", "c1", "b2"]
    assert list(round_robin(items, lambda item: item[0])) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
