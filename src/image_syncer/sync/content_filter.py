"""Select images by what they are: the type of the artifact, annotations and labels."""

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, cast

from image_syncer.bounded_json import parse_object
from image_syncer.errors import ProtocolError, TooLarge
from image_syncer.oci import Descriptor, Index, Manifest, PlatformFilter, RawManifest, Repository
from image_syncer.oci import media_type as types
from image_syncer.oci.content_selection import ContentSelection, Texts
from image_syncer.structs import Struct
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.tag_pattern import TagPattern

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "image": (*sorted(types.IMAGE_CONFIGS), *sorted(types.SCHEMA1)),
    "helm": ("application/vnd.cncf.helm.*",),
    "wasm": ("application/vnd.wasm.*", "application/wasm"),
    "model": (
        "application/vnd.cncf.model.*",
        "application/vnd.docker.ai.model.*",
        "application/vnd.kitops.modelkit.*",
        "application/vnd.ollama.image.*",
    ),
}
"""Media types of configs and artifacts by the name that rules may use."""

_DEPTH_LIMIT: Final = 4
_VALUE_LIMIT: Final = 4096


class _Representative(Struct):
    """The manifest that stands for an image: itself, or the first one of its index that the platforms select."""

    raw: RawManifest
    manifest: Manifest | None


async def is_selected(
    reader: ManifestReader, repository: Repository, root: RawManifest, wanted: PlatformFilter
) -> bool:
    """Whether the image *root* of *repository* has the type, annotations and labels that *wanted* asks for.

    Of an index, the first manifest that the platforms select tells type and labels; annotations are those of the root.
    """
    content = wanted.content
    if content is None or not content.selects:
        return True
    if not matches_texts(content.annotations, _annotations(root)):
        return False
    if not (content.types or content.labels):
        return True
    found = await _representative(reader, repository, root, wanted)
    if content.types and not _has_type(content, root, found):
        return False
    return not content.labels or matches_texts(content.labels, await _labels(reader, repository, found.manifest))


def matches_texts(wanted: Texts, values: Mapping[str, str]) -> bool:
    """Whether each key of *wanted* has a value in *values* that its glob or regular expression matches."""
    return all(key in values and _matches(text, values[key][:_VALUE_LIMIT]) for key, text in wanted)


def _matches(text: str, value: str) -> bool:
    if len(text) > len("//") and text.startswith("/") and text.endswith("/"):
        return TagPattern.parse(text[1:-1]).matches(value)
    return _glob(text).fullmatch(value) is not None


@lru_cache(maxsize=256)
def _glob(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def _has_type(content: ContentSelection, root: RawManifest, found: _Representative) -> bool:
    names = [_artifact_type(root), _artifact_type(found.raw), found.raw.media_type, root.media_type]
    if found.manifest is not None and found.manifest.config is not None:
        names.append(found.manifest.config.media_type)
    artifact = next((name for name in names[:2] if name), "")
    for wanted in content.types:
        if wanted == "image" and artifact:
            continue  # An artifact may have an empty image config.
        if any(_glob(glob).fullmatch(name) for glob in KINDS.get(wanted, (wanted,)) for name in names if name):
            return True
    return False


async def _representative(
    reader: ManifestReader, repository: Repository, root: RawManifest, wanted: PlatformFilter
) -> _Representative:
    raw = root
    for _ in range(_DEPTH_LIMIT):
        parsed = raw.parse()
        if isinstance(parsed, Manifest):
            return _Representative(raw, parsed)
        entry = _first_entry(parsed, wanted)
        if entry is None:
            break
        raw = await reader.read(repository, str(entry.digest))
    return _Representative(raw, None)


def _first_entry(index: Index, wanted: PlatformFilter) -> Descriptor | None:
    images = [entry for entry in index.manifests if entry.is_manifest and entry.attested_digest is None]
    fitting = (entry for entry in images if entry.platform is None or wanted.matches(entry.platform))
    return next(fitting, images[0] if images else None)


def _artifact_type(raw: RawManifest) -> str:
    value: object = raw.document.get("artifactType")
    return types.essence(value) if isinstance(value, str) else ""


def _annotations(raw: RawManifest) -> Mapping[str, str]:
    return _texts(raw.document.get("annotations"))


async def _labels(reader: ManifestReader, repository: Repository, manifest: Manifest | None) -> Mapping[str, str]:
    if manifest is None or manifest.config is None or manifest.config.media_type not in types.IMAGE_CONFIGS:
        return {}
    content = await reader.read_config(repository, manifest.config)
    try:
        config: Any = parse_object(content, "config").get("config")
    except (ProtocolError, TooLarge):
        return {}
    return _texts(cast("dict[str, object]", config).get("Labels")) if isinstance(config, dict) else {}


def _texts(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in cast("dict[str, object]", value).items() if isinstance(text, str)}
