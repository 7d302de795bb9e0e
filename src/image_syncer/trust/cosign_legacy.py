"""Signatures in cosign's legacy form: "simple signing" payloads as layers, their signatures in annotations."""

from typing import Final, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import InvalidReference, ProtocolError
from image_syncer.oci import Descriptor, Digest, Manifest, RawManifest
from image_syncer.structs import Struct
from image_syncer.trust.dsse import decode_base64

PAYLOAD_MEDIA_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE_MEDIA_TYPE: Final = "application/vnd.dsse.envelope.v1+json"

PAYLOAD_LIMIT_BYTES: Final = 64 * 1024
"""The largest payload that is read; usual ones have 300 bytes."""

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_CERTIFICATE: Final = "dev.sigstore.cosign/certificate"
_PAYLOAD_TYPES: Final = frozenset({"cosign container image signature", "https://sigstore.dev/cosign/sign/v1"})
_VALUES_LIMIT: Final = 10_000


class LegacySignature(Struct):
    """A *signature* over the content of the blob *payload*. *certificate* in PEM is that of a keyless one, or empty."""

    payload: Descriptor
    signature: bytes
    certificate: str = ""

    @property
    def is_keyless(self) -> bool:
        """Whether it was made with a certificate."""
        return bool(self.certificate)


def legacy_signatures(manifest: RawManifest) -> tuple[LegacySignature, ...]:
    """Return the signatures in *manifest*; broken ones are left out."""
    parsed = manifest.parse()
    found: list[LegacySignature] = []
    for layer in parsed.layers if isinstance(parsed, Manifest) else ():
        if layer.media_type != PAYLOAD_MEDIA_TYPE:
            continue
        try:
            signature = decode_base64(layer.annotations.get(_SIGNATURE), "its signature")
        except ProtocolError:
            continue
        found.append(LegacySignature(layer, signature, layer.annotations.get(_CERTIFICATE, "")))
    return tuple(found)


def signed_digest(payload: bytes, what: str) -> Digest:
    """Return the digest of the manifest that a simple-signing *payload* is about; `ProtocolError` names *what*."""
    document = parse_object(payload, what, values=_VALUES_LIMIT)
    critical = _object(document.get("critical"))
    digest = _object(critical.get("image")).get("docker-manifest-digest")
    if critical.get("type") not in _PAYLOAD_TYPES or not isinstance(digest, str):
        raise ProtocolError(f"{what}: not a payload of cosign")
    try:
        return Digest.parse(digest)
    except InvalidReference as error:
        raise ProtocolError(f"{what}: {error.message}") from None


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}
