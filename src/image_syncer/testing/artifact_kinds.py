"""One image of every kind: those that a registry from 2021 accepts, and those that it refuses."""

import json
from collections.abc import Mapping

from image_syncer.oci import Platform, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing.images import (
    LINUX_AMD64,
    LINUX_ARM64,
    ODD,
    Blob,
    Entry,
    Image,
    artifact,
    artifact_manifest,
    attested,
    cosign_signature,
    files_layer,
    foreign,
    helm_chart,
    index,
    multi,
    nested,
    sharing,
    signed_schema1,
    single,
    zero_layers,
)

_ARM = tuple(Platform("linux", "arm", variant) for variant in ("v5", "v6", "v7"))
_WINDOWS = tuple(Platform("windows", "amd64", "", version) for version in ("10.0.17763.5", "10.0.20348.2"))


def twenty_kinds() -> Mapping[str, Image]:
    """Return 20 images of all kinds by name (usable as a tag); distribution 2.8 accepts each of them."""
    signed = single("oci")
    return {
        "oci": single("oci"),
        "docker": single("docker", docker=True),
        "oci-index": multi("oci-index"),
        "docker-list": multi("docker-list", docker=True),
        "variants": multi("variants", (*_ARM, LINUX_ARM64)),
        "os-versions": multi("os-versions", _WINDOWS, docker=True),
        "no-platforms": multi("no-platforms", (None, LINUX_AMD64, None)),
        "nested": nested("nested", 3),
        "attested": attested("attested"),
        "helm": helm_chart("helm"),
        f"sha256-{signed.digest.encoded}.sig": cosign_signature(signed),
        "artifact": artifact("artifact", "application/vnd.example.model", subject=signed),
        "zero-layers": zero_layers("zero-layers"),
        "foreign": foreign("foreign"),
        "odd-json": single("odd-json", style=ODD, annotations={"org.example.title": "Übergrößen, 镜像 ✓"}),
        "odd-json-index": multi("odd-json-index", style=ODD),
        "many-layers": single("many-layers", layers=range(10, 60)),
        "same-layer-twice": _same_layer_twice(),
        "no-media-type": _no_media_type(),
        "files": single("files", layers=[files_layer({"etc/hostname": b"demo\n", "bin/demo": b"#!/bin/sh\n"})]),
    }


def newer_kinds() -> Mapping[str, Image]:
    """Return kinds that distribution 2.8 refuses and others accept: withdrawn, outdated and newer documents."""
    return {
        "artifact-manifest": artifact_manifest("artifact-manifest"),
        "schema1": signed_schema1("library/old", "schema1"),
        "sha512": single("sha512", layers=[Blob.of(b"more bits" * 50, algorithm="sha512")]),
    }


def mixed_index(seed: str) -> Image:
    """Return an index with Docker and OCI images, an artifact, and images that share layers."""
    first, second = sharing(seed, 2, shared=(3000,), own=(100,))
    chart = helm_chart(seed)
    return index(
        [
            Entry(first, LINUX_AMD64),
            Entry(second, LINUX_ARM64),
            Entry(single(f"{seed}/docker", docker=True), Platform("linux", "s390x")),
            Entry(chart),
        ]
    )


def _same_layer_twice() -> Image:
    layer = Blob.generated("same", 1500)
    return single("same-layer-twice", layers=(layer, 700, layer))


def _no_media_type() -> Image:
    """Return an OCI image without the optional member `mediaType`: only the Content-Type tells its type."""
    image = single("no-media-type")
    document = {key: value for key, value in image.root.document.items() if key != "mediaType"}
    root = RawManifest.of(json.dumps(document).encode(), types.OCI_MANIFEST)
    return Image(root, (root,), image.blobs)
