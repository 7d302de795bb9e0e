"""Descriptors: how a manifest or an index refers to other content (image-spec descriptor.md)."""

from image_syncer.oci import media_type
from image_syncer.oci.digest import Digest
from image_syncer.oci.platform import Platform
from image_syncer.structs import Struct, field

_ATTESTATION = "attestation-manifest"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"


class Descriptor(Struct):
    """Refers to content by type, digest and size in bytes; *size* is None only for blobs of Docker schema 1.

    *has_urls*: the descriptor names addresses outside the registry that have the content too.
    """

    media_type: str
    digest: Digest
    size: int | None
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    artifact_type: str = ""
    has_urls: bool = False

    @property
    def is_manifest(self) -> bool:
        """Whether this refers to a manifest or an index rather than a blob."""
        return self.media_type in media_type.MANIFESTS

    @property
    def is_index(self) -> bool:
        """Whether this refers to an index (or a Docker manifest list)."""
        return self.media_type in media_type.INDEXES

    @property
    def is_external(self) -> bool:
        """Whether this is a non-distributable layer with `urls`, which registries need not hold.

        Without `urls` it is an ordinary blob: there is no other place to get it from.
        """
        return self.has_urls and media_type.is_nondistributable(self.media_type)

    @property
    def attested_digest(self) -> str | None:
        """The digest (as written) of the image that this entry attests; None if it is not a BuildKit attestation."""
        if self.annotations.get(_REFERENCE_TYPE) != _ATTESTATION:
            return None
        return self.annotations.get(_REFERENCE_DIGEST)
