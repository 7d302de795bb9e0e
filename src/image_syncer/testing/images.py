"""Builders of images, indexes and artifacts of every kind; equal arguments give equal bytes in every run."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from image_syncer.oci import Descriptor, Platform, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing.content import COMPACT, ODD, Blob, Image, Style, files_layer

__all__ = [
    "COMPACT",
    "LINUX_AMD64",
    "LINUX_ARM64",
    "ODD",
    "Blob",
    "Entry",
    "Image",
    "Style",
    "artifact",
    "artifact_manifest",
    "attested",
    "cosign_signature",
    "files_layer",
    "foreign",
    "helm_chart",
    "index",
    "multi",
    "nested",
    "sharing",
    "signed_schema1",
    "single",
    "zero_layers",
]

LINUX_AMD64: Final = Platform("linux", "amd64")
LINUX_ARM64: Final = Platform("linux", "arm64", "v8")
_COMMON: Final = (LINUX_AMD64, Platform("linux", "arm", "v7"), LINUX_ARM64)
_EMPTY: Final = Blob.of(b"{}", types.OCI_EMPTY)

Layers = Sequence[int | Blob]
"""Layers as content, or as sizes in bytes for generated content."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in an index; *platform* None leaves the platform out."""

    image: Image
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


def single(
    seed: str,
    *,
    layers: Layers = (1000, 2000),
    platform: Platform = LINUX_AMD64,
    docker: bool = False,
    style: Style = COMPACT,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Return an image for one platform, as OCI or as Docker schema 2."""
    media_type = types.DOCKER_LAYER if docker else types.OCI_LAYER_GZIP
    blobs = [_layer(f"{seed}/{number}", layer, media_type) for number, layer in enumerate(layers)]
    config = _config(platform, blobs, types.DOCKER_CONFIG if docker else types.OCI_CONFIG)
    kind = types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST
    extra = {"annotations": dict(annotations)} if annotations else {}
    return _manifest({"mediaType": kind, **_names(config, blobs), **extra}, (config, *blobs), style)


def index(
    entries: Iterable[Entry],
    *,
    docker: bool = False,
    style: Style = COMPACT,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Return an OCI index or Docker manifest list of *entries*, which may themselves be indexes."""
    entries = tuple(entries)
    kind = types.DOCKER_LIST if docker else types.OCI_INDEX
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind, "manifests": [_entry(item) for item in entries]}
    if annotations:
        document["annotations"] = dict(annotations)
    root = RawManifest.of(style.dump(document))
    parts = {raw.digest: raw for entry in entries for raw in entry.image.manifests}
    blobs = {digest: blob for entry in entries for digest, blob in entry.image.blobs.items()}
    return Image(root, (*parts.values(), root), blobs)


def multi(
    seed: str,
    platforms: Sequence[Platform | None] = _COMMON,
    *,
    layers: Layers = (1000, 2000),
    docker: bool = False,
    style: Style = COMPACT,
) -> Image:
    """Return an index with one image per platform; None makes an entry without a platform."""
    images = [
        single(f"{seed}/{number}", layers=layers, platform=platform or LINUX_AMD64, docker=docker, style=style)
        for number, platform in enumerate(platforms)
    ]
    return index(map(Entry, images, platforms), docker=docker, style=style)


def nested(seed: str, depth: int = 2) -> Image:
    """Return an index of an image and another index, nested *depth* levels deep."""
    if depth <= 1:
        return multi(f"{seed}/{depth}")
    inner = nested(f"{seed}/{depth}", depth - 1)
    return index([Entry(single(f"{seed}/own/{depth}"), LINUX_AMD64), Entry(inner)])


def attested(seed: str, platforms: Sequence[Platform] = (LINUX_AMD64, LINUX_ARM64)) -> Image:
    """Return an index as BuildKit writes it: each image has an attestation with platform `unknown/unknown`."""
    images = [single(f"{seed}/{number}", platform=platform) for number, platform in enumerate(platforms)]
    return index(
        [
            *map(Entry, images, platforms),
            *(_attestation(f"{seed}/attestation/{number}", image) for number, image in enumerate(images)),
        ]
    )


def artifact(
    seed: str,
    artifact_type: str,
    *,
    config: Blob = _EMPTY,
    layers: Sequence[Blob] | None = None,
    subject: Image | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Return an OCI 1.1 artifact, by default with the empty config; its subject is *subject*, if given."""
    if layers is None:
        layers = [Blob.generated(seed, 500, artifact_type)]
    document: dict[str, Any] = {"mediaType": types.OCI_MANIFEST, "artifactType": artifact_type}
    document |= _names(config, layers)
    if subject is not None:
        document["subject"] = _descriptor(subject.root.descriptor)
    if annotations:
        document["annotations"] = dict(annotations)
    return _manifest(document, (config, *layers), COMPACT)


def artifact_manifest(seed: str, subject: Image | None = None) -> Image:
    """Return a manifest of the withdrawn artifact manifest type, which has `blobs` and no config."""
    blob = Blob.generated(seed, 700, "application/vnd.example.sbom+json")
    document: dict[str, Any] = {
        "mediaType": types.OCI_ARTIFACT,
        "artifactType": "application/vnd.example.sbom",
        "blobs": [_descriptor(blob.descriptor)],
    }
    if subject is not None:
        document["subject"] = _descriptor(subject.root.descriptor)
    root = RawManifest.of(COMPACT.dump(document))
    return Image(root, (root,), {blob.digest: blob})


def helm_chart(seed: str) -> Image:
    """Return a Helm chart as `helm push` writes it: a config of its own type, no rootfs, one tar.gz."""
    about = json.dumps({"name": "chart", "version": "1.2.3", "apiVersion": "v2", "description": seed}).encode()
    config = Blob.of(about, "application/vnd.cncf.helm.config.v1+json")
    chart = files_layer({"chart/Chart.yaml": about}, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    return _manifest({"mediaType": types.OCI_MANIFEST, **_names(config, [chart])}, (config, chart), COMPACT)


def cosign_signature(signed: Image) -> Image:
    """Return a signature of *signed* in the form that cosign pushes under the tag `sha256-<hex>.sig`."""
    claim = {
        "critical": {
            "image": {"docker-manifest-digest": str(signed.digest)},
            "type": "cosign container image signature",
        }
    }
    payload = Blob.of(json.dumps(claim).encode(), "application/vnd.dev.cosign.simplesigning.v1+json")
    config = _config(Platform(), [payload], types.OCI_CONFIG)
    layer = _descriptor(payload.descriptor) | {
        "annotations": {"dev.cosignproject.cosign/signature": "bm90IGEgc2lnbmF0dXJl"}
    }
    document: dict[str, Any] = {"mediaType": types.OCI_MANIFEST, **_names(config, [])} | {"layers": [layer]}
    return _manifest(document, (config, payload), COMPACT)


def zero_layers(seed: str) -> Image:
    """Return an image that has a config and no layers."""
    return single(seed, layers=())


def foreign(seed: str, *, docker: bool = True) -> Image:
    """Return an image whose first layer has URLs elsewhere: the image has its descriptor, not its content."""
    base_type = types.DOCKER_FOREIGN_LAYER if docker else "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    base, layer = Blob.generated(f"{seed}/base", 900, base_type), _layer(f"{seed}/own", 900, _layer_type(docker=docker))
    config = _config(Platform("windows", "amd64", "", "10.0.17763.5"), [base, layer], _config_type(docker=docker))
    kind = types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST
    document: dict[str, Any] = {"mediaType": kind, **_names(config, [base, layer])}
    document["layers"][0]["urls"] = ["https://layers.example.com/base.tar.gz"]
    return _manifest(document, (config, layer), COMPACT)


def sharing(seed: str, count: int, *, shared: Sequence[int], own: Sequence[int], docker: bool = False) -> list[Image]:
    """Return *count* images that share the *shared* layers and add their *own*; sizes in bytes."""
    media_type = _layer_type(docker=docker)
    common = [Blob.generated(f"{seed}/shared/{number}", size, media_type) for number, size in enumerate(shared)]
    return [single(f"{seed}/{number}", layers=(*common, *own), docker=docker) for number in range(count)]


def signed_schema1(name: str, tag: str, seed: str = "schema1") -> Image:
    """Return a signed Docker schema 1 manifest: a well-formed JWS whose signature is invalid."""
    layers = [Blob.generated(f"{seed}/{number}", 600, types.DOCKER_LAYER) for number in range(2)]
    payload = json.dumps(_schema1(name, tag, layers), indent=3).encode()
    body, tail = payload.removesuffix(b"\n}"), b"\n}"
    protected = {"formatLength": len(body), "formatTail": _base64url(tail), "time": "2020-01-01T00:00:00Z"}
    signature = {
        "header": {"alg": "ES256", "jwk": {"crv": "P-256", "kty": "EC", "x": "", "y": ""}},
        "signature": _base64url(bytes(64)),
        "protected": _base64url(json.dumps(protected).encode()),
    }
    content = body + b',\n   "signatures": [' + json.dumps(signature).encode() + b"]" + tail
    root = RawManifest.of(content, types.DOCKER_SCHEMA1_SIGNED)
    return Image(root, (root,), {layer.digest: layer for layer in layers})


def _schema1(name: str, tag: str, layers: Sequence[Blob]) -> dict[str, Any]:
    history = [{"v1Compatibility": json.dumps({"id": layer.digest.encoded})} for layer in reversed(layers)]
    return {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(layer.digest)} for layer in reversed(layers)],
        "history": history,
    }


def _attestation(seed: str, image: Image) -> Entry:
    kind = "application/vnd.in-toto+json"
    statement = Blob.of(json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": seed}).encode(), kind)
    config = _config(Platform("unknown", "unknown"), [statement], types.OCI_CONFIG)
    attesting = _manifest(
        {"mediaType": types.OCI_MANIFEST, **_names(config, [statement])}, (config, statement), COMPACT
    )
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": str(image.digest),
    }
    return Entry(attesting, Platform("unknown", "unknown"), about)


def _layer(seed: str, layer: int | Blob, media_type: str) -> Blob:
    return layer if isinstance(layer, Blob) else Blob.generated(seed, layer, media_type)


def _layer_type(*, docker: bool) -> str:
    return types.DOCKER_LAYER if docker else types.OCI_LAYER_GZIP


def _config_type(*, docker: bool) -> str:
    return types.DOCKER_CONFIG if docker else types.OCI_CONFIG


def _config(platform: Platform, layers: Sequence[Blob], media_type: str) -> Blob:
    document = _platform(platform) | {
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
    }
    return Blob.of(json.dumps(document).encode(), media_type)


def _manifest(document: dict[str, Any], blobs: Sequence[Blob], style: Style) -> Image:
    root = RawManifest.of(style.dump({"schemaVersion": 2, **document}))
    return Image(root, (root,), {blob.digest: blob for blob in blobs})


def _names(config: Blob, layers: Sequence[Blob]) -> dict[str, Any]:
    return {
        "config": _descriptor(config.descriptor),
        "layers": [_descriptor(layer.descriptor) for layer in layers],
    }


def _descriptor(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _entry(entry: Entry) -> dict[str, Any]:
    document = _descriptor(entry.image.root.descriptor)
    if entry.platform is not None:
        document["platform"] = _platform(entry.platform)
    if entry.annotations:
        document["annotations"] = dict(entry.annotations)
    return document


def _platform(platform: Platform) -> dict[str, Any]:
    named = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {key: value for key, value in (named | {"os.version": platform.os_version}).items() if value}


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
