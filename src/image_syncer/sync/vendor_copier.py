"""Lets the vendor of a target bring whole images, without their tags, and verifies what it has brought."""

import asyncio
from collections.abc import Sequence
from typing import Final

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, Interrupted, StoreError
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest
from image_syncer.roles import ImageContent, VendorWay, Way
from image_syncer.structs import Struct
from image_syncer.sync.blob_placer import BlobPlacer
from image_syncer.sync.copy_state import SourceImage, TargetProgress
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.trimmed import check_depth
from image_syncer.sync.way_choice import ImageSize, candidates, choose_way

_MOST_MANIFESTS: Final = 500
"""An image of more manifests is placed blob by blob: no vendor is known to copy it at once."""
_LOOKUPS_AT_ONCE: Final = 16
_LEAST_WAIT_SECONDS: Final = 60.0
_BYTES_PER_SECOND: Final = 8 * 1024 * 1024
_REFUSALS: Final = 3

_Route = tuple[Way, str, str]
"""A way from one registry to another."""


class _Record(Struct, frozen=False):
    """How often a way failed on a route, its last *reason*, and whether it is not tried again."""

    failures: int = 0
    refusals: int = 0
    reason: str = ""
    is_off: bool = False


class VendorCopier:
    """Takes the ways of vendors. One object serves a whole run, and remembers which ways fail."""

    def __init__(self, reader: ManifestReader, blobs: BlobPlacer) -> None:
        self._reader = reader
        self._blobs = blobs
        self._records: dict[_Route, _Record] = {}

    @property
    def warnings(self) -> list[str]:
        """For each route on which a way failed: why, and that blobs were placed one by one."""
        return [
            f"{target}: {way} from {source} failed ({record.failures} x), and blobs were copied one by one: "
            f"{record.reason}"
            for (way, source, target), record in self._records.items()
            if record.failures
        ]

    async def bring(self, image: SourceImage, root: RawManifest, goal: TargetProgress) -> None:
        """Let a vendor bring *image*, whose root is *root*, if that is the cheapest way; then `goal.way` is set.

        Otherwise the caller places the blobs one by one. It never fails: each way but the stream may be left out.
        """
        ways = [one for one in goal.ways.vendor if not self._record(one.way, image, goal).is_off]
        content = await self._content(image, root) if ways and _is_whole(image, root) else None
        if content is None:
            return
        manifests = len(content.manifests) + 1
        ways = [one for one in ways if one.offers(root.digest, manifests)]
        size = ImageSize(content.size_bytes, len(content.blobs), manifests)
        can_mount = goal.mount_origin is not None and goal.may_mount
        while ways and goal.failure is None:
            chosen = choose_way(candidates(size, ways, can_mount=can_mount)).vendor
            if chosen is None:
                return
            if await self._try(chosen, content, image, goal):
                goal.way = chosen.way
                goal.count(mounted=content.size_bytes)
                self._blobs.record(goal.repository, content.blobs)
                return
            ways.remove(chosen)

    async def _content(self, image: SourceImage, root: RawManifest) -> ImageContent | None:
        """Return all that *image* consists of; None if that is too much, or cannot be read now."""
        manifests: dict[Digest, Descriptor] = {}
        blobs: dict[Digest, Descriptor] = {}

        async def add(raw: RawManifest, depth: int) -> None:
            match raw.parse():
                case Manifest() as manifest:
                    blobs.update({blob.digest: blob for blob in manifest.blobs})
                case Index(entries):
                    check_depth(depth, raw)
                    new = {entry.digest: entry for entry in entries if entry.digest not in manifests}
                    manifests.update(new)
                    if len(manifests) > _MOST_MANIFESTS or not all(entry.is_manifest for entry in new.values()):
                        raise _Unsuitable
                    for entry in new.values():
                        await add(await self._reader.read(image.origin, str(entry.digest)), depth + 1)

        try:
            await add(root, 1)
        except (_Unsuitable, CopyFailed, StoreError):  # The ordinary copy meets the same error, and reports it.
            return None
        return ImageContent(root.descriptor, tuple(manifests.values()), tuple(blobs.values()))

    async def _try(self, way: VendorWay, content: ImageContent, image: SourceImage, goal: TargetProgress) -> bool:
        """Let *way* bring the image; whether the target has all of it now. A failure is recorded."""
        for blob in content.blobs:  # Other targets of the image need not wait for this one.
            goal.fan_out.decide(goal.repository.registry, blob.digest)
        seconds = way.wait_seconds or _LEAST_WAIT_SECONDS + content.size_bytes / _BYTES_PER_SECOND
        try:
            async with asyncio.timeout(seconds):
                await way.copy(content)
                missing = await _first_missing(content, goal)
        except TimeoutError:
            self._fail(way, image, goal, f"not done within {seconds:g} s", is_refusal=False)
        except Interrupted:
            return False  # The process shuts down.
        except StoreError as error:
            self._fail(way, image, goal, str(error), is_refusal=True)
        else:
            if missing is None:
                self._record(way.way, image, goal).refusals = 0
                return True
            self._fail(way, image, goal, f"it was reported as done, but {missing} is missing", is_refusal=False)
        return False

    def _fail(self, way: VendorWay, image: SourceImage, goal: TargetProgress, reason: str, *, is_refusal: bool) -> None:
        record = self._record(way.way, image, goal)
        record.failures += 1
        record.refusals += 1
        record.reason = reason
        record.is_off = not is_refusal or record.refusals >= _REFUSALS
        # It may have left manifests whose blobs are missing, so what is there proves nothing.
        goal.probe = False
        goal.trusted = goal.trusted and is_refusal

    def _record(self, way: Way, image: SourceImage, goal: TargetProgress) -> _Record:
        return self._records.setdefault((way, image.origin.registry, goal.repository.registry), _Record())


class _Unsuitable(Exception):
    """The image has parts that no vendor copies."""


def _is_whole(image: SourceImage, root: RawManifest) -> bool:
    """Whether *root* and all below it are copied as the source has them."""
    is_same = root.digest == image.source_root.digest and not image.rewritten
    return is_same and not image.skipped and not image.with_external


async def _first_missing(content: ImageContent, goal: TargetProgress) -> str | None:
    """Return a digest that the target repository lacks, None if it has all of *content*; `StoreError`."""
    missing: list[Digest] = []

    async def look_for_manifest(entry: Descriptor) -> None:
        found = None if missing else await goal.target.resolve(str(entry.digest))
        if found is None or found.digest != entry.digest:
            missing.append(entry.digest)

    async def look_for_blob(blob: Descriptor) -> None:
        if missing or not await goal.target.has_blob(blob, expected=True):
            missing.append(blob.digest)

    manifests: Sequence[Descriptor] = (content.root, *content.manifests)
    await for_each(manifests, look_for_manifest, width=_LOOKUPS_AT_ONCE)
    await for_each(content.blobs, look_for_blob, width=_LOOKUPS_AT_ONCE)
    return str(missing[0]) if missing else None
