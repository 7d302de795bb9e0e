"""Values of the OCI specifications: digests, references, descriptors, platforms, manifests. No I/O."""

from image_syncer.oci.descriptor import Descriptor
from image_syncer.oci.digest import Digest, Verifier
from image_syncer.oci.manifest import Index, Manifest, RawManifest
from image_syncer.oci.platform import ArchPattern, OsPattern, Platform, PlatformFilter
from image_syncer.oci.reference import DOCKER_HUB, Reference, Repository

__all__ = [
    "DOCKER_HUB",
    "ArchPattern",
    "Descriptor",
    "Digest",
    "Index",
    "Manifest",
    "OsPattern",
    "Platform",
    "PlatformFilter",
    "RawManifest",
    "Reference",
    "Repository",
    "Verifier",
]
