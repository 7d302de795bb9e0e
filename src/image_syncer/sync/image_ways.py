"""The ways of the images of a run: which are allowed, which one is expected, and those that a vendor performs."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from image_syncer.oci import RawManifest, Repository
from image_syncer.roles import EVERY_WAY, Way, Ways
from image_syncer.structs import replace
from image_syncer.sync.attachment_step import AttachmentStep
from image_syncer.sync.blob_placer import BlobPlacer
from image_syncer.sync.copy_state import CopyOptions, SourceImage, TargetProgress
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Copy, PlannedCopy
from image_syncer.sync.way_choice import allowed_ways, expected_way

if TYPE_CHECKING:
    from image_syncer.sync.vendor_copier import VendorCopier

WaysOf = Callable[[Repository, Repository], Ways]
"""Returns the ways from a source to a target, without a request."""


def every_way(source: Repository, target: Repository) -> Ways:
    """Return that every way from *source* to *target* is allowed, and that no vendor offers one."""
    del source, target
    return EVERY_WAY


class ImageWays:
    """The ways of a run, by *ways*."""

    def __init__(self, ways: WaysOf, reader: ManifestReader, blobs: BlobPlacer) -> None:
        self._ways = ways
        self._reader = reader
        self._blobs = blobs
        self._vendor: VendorCopier | None = None

    @property
    def warnings(self) -> Sequence[str]:
        """Which ways of vendors failed, and why."""
        return () if self._vendor is None else self._vendor.warnings

    def expected(self, copy: Copy, options: CopyOptions) -> Way:
        """Return the way that *copy* tries first; this sends no request."""
        source, target = copy.source.repository, copy.target.repository
        is_one_registry = options.are_one_registry(source.registry, target.registry)
        return expected_way(self._ways(source, target), copy, is_one_registry=is_one_registry)

    def allowed(self, source: Repository, target: Repository, copies: Iterable[PlannedCopy]) -> Ways:
        """Return the ways from *source* to *target* that the rules of all *copies* allow."""
        ways = self._ways(source, target)
        allowed = allowed_ways(ways, (planned.copy for planned in copies))
        if not ways.vendor:
            return ways if allowed == ways.allowed else Ways(allowed)
        return replace(ways, allowed=allowed, vendor=[one for one in ways.vendor if one.way in allowed])

    async def bring(
        self, image: SourceImage, root: RawManifest, goal: TargetProgress, step: AttachmentStep | None
    ) -> None:
        """Let the target's vendor bring *image* if that is the cheapest way, after the gate in *step* has passed."""
        if not goal.ways.vendor:
            return
        if step is not None:
            await step.passed()
        if self._vendor is None:
            from image_syncer.sync.vendor_copier import VendorCopier  # noqa: PLC0415 - few targets have such ways

            self._vendor = VendorCopier(self._reader, self._blobs)
        if goal.failure is None:
            await self._vendor.bring(image, root, goal)
