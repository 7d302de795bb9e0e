"""Images in the values of charts and custom resources, by the shapes that most of them share.

These are a text (`image: quay.io/team/app:1.2`, with `tag:` or `imageTag:` beside it) and a map of `registry`,
`repository`, `tag` and `digest`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from image_syncer.image_sources.foreign_yaml import Value, ValueMap, as_list, as_map, as_text
from image_syncer.oci.reference import split_reference
from image_syncer.structs import Struct

_NAME_KEYS: Final = ("repository", "image", "name")
_SIGNS: Final = frozenset({"tag", "digest", "registry", "pullPolicy", "imagePullPolicy", "sha"})
_DEPTH_LIMIT: Final = 64
_SHA256_LENGTH: Final = 64


class ImageValue(Struct):
    """A *text* that looks like an image at *path*. *disabled_by* is the key that switches it off, if any."""

    text: str
    path: str
    disabled_by: str = ""

    @property
    def has_version(self) -> bool:
        """Whether the text has a tag or a digest."""
        _, tag, digest = split_reference(self.text)
        return tag is not None or digest is not None


def image_values(root: ValueMap, *, registry: str = "", skips: Collection[str] = ()) -> Iterator[ImageValue]:
    """Yield what looks like an image in *root*, without the values of the keys *skips*.

    A *registry* replaces the one of maps that have this key, as `global.imageRegistry` does in many charts.
    """
    yield from _walk(root, "", "", _Scan(registry, frozenset(skips)), 0)


def image_of_map(value: ValueMap, registry: str = "") -> str:
    """Return the image that the map *value* describes; empty if it describes none."""
    name = next((as_text(value.get(key)) for key in _NAME_KEYS if as_text(value.get(key))), "")
    if not name or "://" in name:
        return ""
    host = (registry or as_text(value.get("registry"))) if "registry" in value else ""
    if host:
        name = f"{host.rstrip('/')}/{name}"
    tag = as_text(value.get("tag")) or as_text(value.get("imageTag"))
    digest = "" if value.get("useDigest") is False else as_text(value.get("digest")) or as_text(value.get("sha"))
    if len(digest) == _SHA256_LENGTH and ":" not in digest:
        digest = f"sha256:{digest}"
    if tag and split_reference(name)[1] is None:
        name = f"{name}:{tag}"
    return f"{name}@{digest}" if digest and "@" not in name else name


class _Scan(Struct):
    registry: str
    skips: frozenset[str]


def _walk(value: Value, path: str, disabled_by: str, scan: _Scan, depth: int) -> Iterator[ImageValue]:
    if depth > _DEPTH_LIMIT:
        return
    if not isinstance(value, Mapping):
        for number, item in enumerate(as_list(value)):
            yield from _walk(item, f"{path}[{number}]", disabled_by, scan, depth + 1)
        return
    if value.get("enabled") is False and path:
        disabled_by = disabled_by or f"{path}.enabled"
    for key, item in value.items():
        if key in scan.skips:
            continue
        place = f"{path}.{key}" if path else key
        text = _text_at(key, item, value, scan.registry)
        if text:
            yield ImageValue(text, place, disabled_by)
        if not (text and isinstance(item, Mapping) and _is_image_key(key)):
            yield from _walk(item, place, disabled_by, scan, depth + 1)


def _text_at(key: str, item: Value, siblings: ValueMap, registry: str) -> str:
    """Return the image that *item* describes, the value of *key* beside *siblings*."""
    if isinstance(item, Mapping):
        is_image = _is_image_key(key) or (as_text(item.get("repository")) and _SIGNS & item.keys())
        return image_of_map(item, registry) if is_image else ""
    if not _is_image_key(key) or (key == "image" and "repository" in siblings):
        return ""
    text = as_text(item)
    if not text or any(part is not None for part in split_reference(text)[1:]):
        return text
    stem = key[: -len("image")]
    tags = (f"{key}Tag", f"{stem}Tag", f"{stem}tag", f"{key}_tag", f"{key}Version")
    tag = next((as_text(siblings.get(name)) for name in tags if as_text(siblings.get(name))), "")
    return f"{text}:{tag}" if tag else text


def _is_image_key(key: str) -> bool:
    return key.lower().endswith("image")


def global_registry(values: ValueMap) -> str:
    """Return the registry that `global.imageRegistry` of *values* sets for all images; empty without."""
    return as_text(as_map(values.get("global")).get("imageRegistry"))
