"""What a rule copies of an image: filters by platform and content trim an index to the selected entries.

Only a trimmed index differs from the bytes that were read. Trimming removes entries and nothing else: the order, the
keys and all other members stay, and the JSON has one fixed form, so the same filter on the same index always gives the
same digest.
"""

import json
from collections.abc import Collection, Mapping

from image_syncer.errors import CopyFailed, TooLarge
from image_syncer.oci import Descriptor, Digest, Index, Manifest, PlatformFilter, RawManifest, Repository
from image_syncer.oci import media_type as types
from image_syncer.oci.manifest import platform_of_config
from image_syncer.structs import Struct, field
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.trimmed import Trimmed, check_depth

VERSION = 2
"""Increment it if the same filter on the same index gives another digest: that invalidates cached digests."""

NESTED_LIMIT = 1_000
"""The maximum number of nested indexes that a platform filter reads in one image."""


async def filter_index(
    reader: ManifestReader, repository: Repository, root: RawManifest, wanted: PlatformFilter
) -> Trimmed | None:
    """Return what to push of *root* of *repository* as *wanted* selects it, None if nothing is left.

    The platform of a single image is in its config. If every entry passes, the bytes stay unchanged.
    """
    if not wanted:
        return Trimmed(root, {})
    if wanted.content is None:
        return await _filter(reader, repository, root, wanted)
    from image_syncer.sync.content_filter import is_selected  # noqa: PLC0415 - most rules need it not

    if not await is_selected(reader, repository, root, wanted):
        return None
    left = await _filter(reader, repository, root, wanted)
    if left is None or not wanted.content.to_oci:
        return left
    from image_syncer.sync.oci_conversion import convert_to_oci  # noqa: PLC0415 - as above

    return await convert_to_oci(reader, repository, left)


async def _filter(
    reader: ManifestReader, repository: Repository, root: RawManifest, wanted: PlatformFilter
) -> Trimmed | None:
    parsed = root.parse()
    if isinstance(parsed, Manifest):
        passes = await _image_passes(reader, repository, parsed, wanted)
        return Trimmed(root, {}) if passes else None
    trimming = _Trimming(reader, repository, wanted)
    left = await _trim_index(trimming, root, parsed, depth=1)
    if left is None:
        return None
    if wanted.content is not None and wanted.content.index.is_sparse:
        return Trimmed(root, {}, frozenset(trimming.dropped - trimming.kept))
    return Trimmed(left, trimming.rewritten)


class _Trimming(Struct, frozen=False):
    reader: ManifestReader
    repository: Repository
    wanted: PlatformFilter
    rewritten: dict[Digest, RawManifest] = field(default_factory=dict[Digest, RawManifest])
    kept: set[Digest] = field(default_factory=set[Digest])
    dropped: set[Digest] = field(default_factory=set[Digest])
    nested: int = 0  # Indexes read so far.

    async def read(self, entry: Descriptor) -> RawManifest:
        """Return the nested index *entry*; their number is bounded, since each may name many more."""
        self.nested += 1
        if self.nested > NESTED_LIMIT:
            error = TooLarge(f"{entry.digest}: more than {NESTED_LIMIT} indexes within one image")
            raise CopyFailed(error, side="source", step="read manifest")
        return await self.reader.read(self.repository, str(entry.digest))


async def _trim_index(trimming: _Trimming, raw: RawManifest, index: Index, *, depth: int) -> RawManifest | None:
    check_depth(depth, raw)
    nested: dict[Digest, RawManifest | None] = {}
    for entry in index.manifests:
        if entry.is_index and entry.digest not in nested and _entry_passes(entry, trimming.wanted):
            child = await trimming.read(entry)
            parsed = child.parse()
            left = await _trim_index(trimming, child, parsed, depth=depth + 1) if isinstance(parsed, Index) else child
            nested[entry.digest] = left
            if left is not None and left.digest != entry.digest:
                trimming.rewritten[left.digest] = left
    kept = kept_entries(index.manifests, trimming.wanted, {digest for digest, left in nested.items() if left is None})
    digests = {index.manifests[number].digest for number in kept}
    trimming.kept |= digests
    trimming.dropped |= {entry.digest for entry in index.manifests} - digests
    if not any(index.manifests[number].attested_digest is None for number in kept):
        return None
    replaced = {digest: left for digest, left in nested.items() if left is not None and left.digest != digest}
    return rewrite_index(raw, kept, replaced)


def kept_entries(
    entries: tuple[Descriptor, ...], wanted: PlatformFilter, emptied: Collection[Digest] = ()
) -> list[int]:
    """Return the positions of the entries to keep: the wanted platforms and their attestations.

    *emptied* are nested indexes without any entry left. BuildKit's attestations are entries for `unknown/unknown` that
    name the image they attest; each is kept exactly if that image is.
    """
    images = {
        number
        for number, entry in enumerate(entries)
        if entry.attested_digest is None and entry.digest not in emptied and _entry_passes(entry, wanted)
    }
    digests = {str(entries[number].digest) for number in images}
    return [number for number, entry in enumerate(entries) if number in images or entry.attested_digest in digests]


def rewrite_index(raw: RawManifest, kept: list[int], replaced: Mapping[Digest, RawManifest]) -> RawManifest:
    """Return *raw* with only the *kept* entries; entries of nested indexes in *replaced* point to the new ones."""
    document = raw.document
    entries = document["manifests"]
    if len(kept) == len(entries) and not replaced:
        return raw
    left = [entries[number] for number in kept]
    for entry in left:
        new = replaced.get(Digest.parse(entry["digest"]))
        if new is not None:
            entry["digest"], entry["size"] = str(new.digest), len(new.content)
    document["manifests"] = left
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return RawManifest.of(content, raw.media_type, what=str(raw.digest))


def _entry_passes(entry: Descriptor, wanted: PlatformFilter) -> bool:
    if wanted.content is not None and wanted.content.entries:
        from image_syncer.sync.content_filter import matches_texts  # noqa: PLC0415 - as above

        if not matches_texts(wanted.content.entries, entry.annotations):
            return False
    return entry.platform is None or wanted.matches(entry.platform)


async def _image_passes(
    reader: ManifestReader, repository: Repository, manifest: Manifest, wanted: PlatformFilter
) -> bool:
    """Whether a single image is wanted; other artifacts (a chart, a signature) have no platform and always are."""
    config = manifest.config
    if config is None or config.media_type not in types.IMAGE_CONFIGS:
        return True
    return wanted.matches(platform_of_config(await reader.read_config(repository, config)))
