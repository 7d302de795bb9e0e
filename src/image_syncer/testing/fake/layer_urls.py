"""URLs of layers in manifests, checked as in distribution 2.8 (`schema2manifesthandler.go` and its OCI counterpart)."""

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from image_syncer.oci import Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing.fake.answers import RegistryError
from image_syncer.testing.fake.blobs import parse_digest

_OCI_LAYER = "application/vnd.oci.image.layer."


def required_blobs(raw: RawManifest, allowed: tuple[str, ...]) -> Iterator[Digest]:
    """Yield the digests of config and layers that name no URL; the registry must have these blobs.

    Refuses *raw* if a layer names a URL outside of the *allowed* prefixes, or if a Docker foreign layer names none:
    distribution has no error code for either, so it answers 500 UNKNOWN.
    """
    for part in _parts(raw.document):
        urls = cast("list[str]", part.get("urls") or [])
        is_foreign = part.get("mediaType") == types.DOCKER_FOREIGN_LAYER
        is_checked = is_foreign or str(part.get("mediaType")).startswith(_OCI_LAYER)
        if (is_foreign and not urls) or (is_checked and not all(_is_allowed(url, allowed) for url in urls)):
            raise RegistryError(500, "UNKNOWN", "unknown error")
        if not urls:
            yield parse_digest(str(part.get("digest")))


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    config, layers = document.get("config"), document.get("layers")
    if isinstance(config, dict):
        yield cast("dict[str, Any]", config)
    if isinstance(layers, list):
        yield from cast("list[dict[str, Any]]", layers)


def _is_allowed(url: str, allowed: tuple[str, ...]) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and url.startswith(allowed)
