"""The order of copying: images together, rules in turn."""

from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.sync.order import by_image, in_turns
from image_syncer.sync.plan import Action, Copy, PlannedCopy

DIGEST = Digest.of(b"image")
AMD64 = PlatformFilter.parse(platforms=["linux/amd64"])


def planned(source: str, target: str, digest: Digest = DIGEST, platforms: PlatformFilter | None = None) -> PlannedCopy:
    """Return a copy to be made."""
    copy = Copy("rule", Reference.parse(source), Reference.parse(target), platforms or PlatformFilter())
    return PlannedCopy(copy, Action.COPY, digest, digest)


def test_tags_and_targets_of_one_image_go_together() -> None:
    """What another digest, repository or platform filter asks for goes by itself."""
    one = [planned("a.io/app:1", "b.io/app:1"), planned("a.io/app:latest", "c.io/app:latest")]
    others = [
        planned("a.io/app:2", "b.io/app:2", Digest.of(b"other")),
        planned("a.io/fork:1", "b.io/fork:1"),
        planned("a.io/app:1", "b.io/small:1", platforms=AMD64),
    ]
    groups = by_image([one[0], others[0], one[1], *others[1:]])
    assert groups == [one, [others[0]], [others[1]], [others[2]]]


def test_every_owner_has_one_in_turn() -> None:
    """A huge one does not keep the small ones waiting; the order of each stays."""
    items = ["a1", "a2", "a3", "a4", "b1", "c1", "b2"]
    assert list(in_turns(items, lambda item: item[0])) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
