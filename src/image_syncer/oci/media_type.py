"""Media types of manifests and descriptors (image-spec media-types.md)."""

from typing import Final

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT: Final = (
    "application/vnd.oci.artifact.manifest.v1+json"  # Withdrawn from the specification; some registries still hold it.
)
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

ACCEPT: Final = (
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED,
    DOCKER_SCHEMA1,
    OCI_ARTIFACT,
)
"""The manifest types that this tool understands, in the order of preference that other clients send too."""

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
MANIFESTS: Final = frozenset(ACCEPT)
IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_NON_DISTRIBUTABLE_PREFIX = "application/vnd.oci.image.layer.nondistributable.v1."


def essence(content_type: str) -> str:
    """Return *content_type* without parameters, in lower case, for comparison."""
    return content_type.partition(";")[0].strip().lower()


def is_nondistributable(media_type: str) -> bool:
    """Whether this is the type of a non-distributable layer, which may exist only at its `urls`."""
    return media_type.startswith((DOCKER_FOREIGN_LAYER.removesuffix(".gzip"), _NON_DISTRIBUTABLE_PREFIX))
