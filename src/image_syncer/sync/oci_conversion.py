"""Convert Docker's manifests to those of OCI: the media types change, blobs stay, so digests of manifests change."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from image_syncer.errors import CopyFailed, Refused
from image_syncer.oci import Descriptor, Digest, Index, RawManifest, Repository
from image_syncer.oci import media_type as types
from image_syncer.structs import Struct, field
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.trimmed import Trimmed, check_depth

_TYPES: Final = {
    types.DOCKER_LIST: types.OCI_INDEX,
    types.DOCKER_MANIFEST: types.OCI_MANIFEST,
    types.DOCKER_CONFIG: types.OCI_CONFIG,
    types.DOCKER_LAYER: types.OCI_LAYER_GZIP,
    types.DOCKER_FOREIGN_LAYER: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    # containerd and BuildKit write these.
    "application/vnd.docker.image.rootfs.diff.tar": types.OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "application/vnd.oci.image.layer.nondistributable.v1.tar",
}
_ATTESTED: Final = "vnd.docker.reference.digest"


class _Conversion(Struct, frozen=False):
    reader: ManifestReader
    repository: Repository
    rewritten: dict[Digest, RawManifest] = field(default_factory=dict[Digest, RawManifest])


async def convert_to_oci(reader: ManifestReader, repository: Repository, trimmed: Trimmed) -> Trimmed:
    """Return *trimmed* of *repository* with the media types of OCI; the same object if it has them already.

    `CopyFailed` for schema 1, which OCI has no form for.
    """
    conversion = _Conversion(reader, repository, dict(trimmed.rewritten))
    root = await _convert(conversion, trimmed.root, depth=1)
    if root.digest == trimmed.root.digest:
        return trimmed
    return Trimmed(root, conversion.rewritten)


async def _convert(conversion: _Conversion, raw: RawManifest, *, depth: int) -> RawManifest:
    if raw.media_type in types.SCHEMA1:
        error = Refused(f"{raw.digest}: a manifest of schema 1 has no OCI form", remedy="leave convert: out")
        raise CopyFailed(error, side="source", step="convert")
    parsed = raw.parse()
    if not isinstance(parsed, Index):
        return _rewritten(raw, {})
    check_depth(depth, raw)
    replaced: dict[Digest, RawManifest] = {}
    for entry in {entry.digest: entry for entry in parsed.manifests}.values():
        if not _may_hold_docker(entry):
            continue
        child = conversion.rewritten.get(entry.digest)
        child = child or await conversion.reader.read(conversion.repository, str(entry.digest))
        converted = await _convert(conversion, child, depth=depth + 1)
        if converted.digest != entry.digest:
            conversion.rewritten[converted.digest] = replaced[entry.digest] = converted
    return _rewritten(raw, replaced)


def _may_hold_docker(entry: Descriptor) -> bool:
    """Whether *entry* is of Docker's types, or an index that may name such."""
    return entry.is_manifest and (entry.media_type in _TYPES or entry.is_index or entry.media_type in types.SCHEMA1)


def _rewritten(raw: RawManifest, replaced: Mapping[Digest, RawManifest]) -> RawManifest:
    """Return *raw* in OCI's types, with the entries of *replaced* manifests; *raw* itself if nothing changes."""
    if raw.media_type not in _TYPES and not replaced:
        return raw
    document = raw.document
    kind = _TYPES.get(raw.media_type, raw.media_type)
    document["mediaType"] = kind
    digests = {str(old): str(new.digest) for old, new in replaced.items()}
    for key in ("config", "layers", "manifests"):
        value = document.get(key)
        for part in cast("list[Any]", value if isinstance(value, list) else [value]):
            if isinstance(part, dict):
                _convert_descriptor(cast("dict[str, Any]", part), replaced, digests)
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return RawManifest.of(content, kind, what=str(raw.digest))


def _convert_descriptor(
    part: dict[str, Any], replaced: Mapping[Digest, RawManifest], digests: Mapping[str, str]
) -> None:
    media_type = types.essence(str(part.get("mediaType", "")))
    if media_type in _TYPES:
        part["mediaType"] = _TYPES[media_type]
    new = replaced.get(Digest.parse(str(part["digest"])))
    if new is not None:
        part["digest"], part["size"] = str(new.digest), len(new.content)
    if isinstance(part.get("annotations"), dict):
        annotations = cast("dict[str, Any]", part["annotations"])
        attested = digests.get(str(annotations.get(_ATTESTED)))
        if attested is not None:
            annotations[_ATTESTED] = attested
