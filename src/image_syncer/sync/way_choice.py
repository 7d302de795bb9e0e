"""Chooses the way in which an image reaches its target. Pure."""

from collections.abc import Iterable

from image_syncer.roles import ALL_WAYS, VendorWay, Way, Ways
from image_syncer.structs import Struct
from image_syncer.sync.plan import Copy

_UPLOAD_REQUESTS = 3
"""A look-up, the start of an upload, and its content."""


class WayCandidate(Struct):
    """A *way* for one image: about how many of its bytes pass through this process, and how many requests it takes.

    *vendor* performs it; None for mounts and streams.
    """

    way: Way
    bytes_through_us: int
    requests: int
    vendor: VendorWay | None = None


class ImageSize(Struct):
    """How much an image is: its bytes, blobs and manifests. The default is for images that were not read."""

    size_bytes: int = 1
    blobs: int = 1
    manifests: int = 1


def choose_way(candidates: Iterable[WayCandidate]) -> WayCandidate:
    """Return the candidate with the fewest bytes through this process, then with the fewest requests.

    Of equal ones it is the first.
    """
    return min(candidates, key=lambda candidate: (candidate.bytes_through_us, candidate.requests))


def candidates(size: ImageSize, vendor: Iterable[VendorWay], *, can_mount: bool) -> list[WayCandidate]:
    """Return the ways for an image of *size*: the stream, those of the target's *vendor*, and mounts with *can_mount*.

    *can_mount*: the target registry has the source repository, too, and mounts are allowed.
    """
    children = size.manifests - 1
    found = [WayCandidate(Way.STREAM, size.size_bytes, _UPLOAD_REQUESTS * size.blobs + children)]
    if can_mount:
        found.append(WayCandidate(Way.MOUNT, 0, size.blobs + children))
    found += [WayCandidate(one.way, 0, one.requests + size.blobs + size.manifests, one) for one in vendor]
    return found


def allowed_ways(ways: Ways, copies: Iterable[Copy]) -> frozenset[Way]:
    """Return the ways that the target's settings and the rules of all *copies* allow."""
    allowed = ways.allowed
    for copy in copies:
        if copy.ways is not ALL_WAYS:
            allowed &= copy.ways
    return allowed


def expected_way(ways: Ways, copy: Copy, *, is_one_registry: bool) -> Way:
    """Return the way that a run tries first for *copy*; it falls back if that fails.

    A vendor copies whole images only.
    """
    is_whole = not copy.platforms and not copy.nondistributable_layers
    allowed = allowed_ways(ways, [copy])
    vendor = [one for one in ways.vendor if is_whole and one.way in allowed]
    found = candidates(ImageSize(), vendor, can_mount=is_one_registry and Way.MOUNT in allowed)
    return choose_way(found).way
