"""Sigstore bundles: a signed statement or a signature, and what verifies it. Bounded before a library parses them."""

import json
from typing import TYPE_CHECKING, Final, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import ProtocolError
from image_syncer.structs import Struct
from image_syncer.trust.dsse import SIGNATURES_LIMIT, VALUES_LIMIT, Envelope

if TYPE_CHECKING:
    from sigstore_models.bundle.v1 import VerificationMaterial

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"

CERTIFICATES_LIMIT: Final = 10
"""How many certificates a chain may have."""

PROOF_LIMIT: Final = 64
"""How many hashes a proof of inclusion may have: a log of 2^64 entries has as many levels."""

CHECKPOINT_LIMIT: Final = 64 * 1024
"""Characters of a log's checkpoint."""


class Bundle(Struct):
    """A Sigstore bundle: a DSSE *envelope*, or else a *signature* over the subject itself.

    *key_hint* is what the bundle says about the key, None if a certificate stands for it: *certificate* in DER, empty
    without one. *content* is the bundle with the keys that libraries demand.
    """

    content: bytes
    envelope: Envelope | None
    signature: bytes
    key_hint: str | None
    certificate: bytes = b""

    @property
    def is_keyless(self) -> bool:
        """Whether a certificate stands for the key."""
        return self.key_hint is None


def parse_bundle(content: bytes, what: str) -> Bundle:
    """Return the bundle in *content*; `ProtocolError` or `TooLarge`, which name *what*."""
    from pydantic import ValidationError  # noqa: PLC0415 - with the library below
    from sigstore_models.bundle.v1 import Bundle as BundleModel  # noqa: PLC0415 - only rules with gates need it

    document = parse_object(content, what, values=VALUES_LIMIT)
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise ProtocolError(f"{what}: not a Sigstore bundle")
    _check_bounds(cast("JsonObject", material), document, what)
    if "tlogEntries" not in material:  # cosign leaves out an empty list, as Protobuf does; the library demands one.
        material["tlogEntries"] = []
        content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        parsed = BundleModel.from_json(content)
    except ValidationError as error:
        raise ProtocolError(f"{what}: not a Sigstore bundle: {_first(error.errors()[0])}") from None
    envelope = None
    if parsed.dsse_envelope is not None:
        signatures = tuple(signature.sig for signature in parsed.dsse_envelope.signatures)
        envelope = Envelope(parsed.dsse_envelope.payload_type, parsed.dsse_envelope.payload, signatures)
    signature = parsed.message_signature.signature if parsed.message_signature is not None else b""
    key = parsed.verification_material.public_key
    hint = None if key is None else key.hint or ""
    return Bundle(content, envelope, signature, hint, _certificate(parsed.verification_material))


def _certificate(material: "VerificationMaterial") -> bytes:
    if material.certificate is not None:
        return material.certificate.raw_bytes
    chain = material.x509_certificate_chain
    return chain.certificates[0].raw_bytes if chain is not None and chain.certificates else b""


def _check_bounds(material: JsonObject, document: JsonObject, what: str) -> None:
    """Raise `ProtocolError` for lists that are longer than any honest bundle's."""
    envelope, chain = document.get("dsseEnvelope"), material.get("x509CertificateChain")
    timestamps = _get(material.get("timestampVerificationData"), "rfc3161Timestamps")
    entries = material.get("tlogEntries")
    lists = [
        (_get(envelope, "signatures"), SIGNATURES_LIMIT, "signatures"),
        (_get(chain, "certificates"), CERTIFICATES_LIMIT, "certificates"),
        (timestamps, CERTIFICATES_LIMIT, "timestamps"),
        (entries, CERTIFICATES_LIMIT, "log entries"),
    ]
    for entry in cast("list[object]", entries)[:CERTIFICATES_LIMIT] if isinstance(entries, list) else ():
        proof = _get(entry, "inclusionProof")
        lists.append((_get(proof, "hashes"), PROOF_LIMIT, "hashes in a proof"))
        checkpoint = _get(_get(proof, "checkpoint"), "envelope")
        if isinstance(checkpoint, str) and len(checkpoint) > CHECKPOINT_LIMIT:
            raise ProtocolError(f"{what}: a checkpoint of more than {CHECKPOINT_LIMIT} characters")
    for values, limit, name in lists:
        if isinstance(values, list) and len(cast("list[object]", values)) > limit:
            raise ProtocolError(f"{what}: more than {limit} {name}")


def _get(value: object, key: str) -> object:
    return cast("JsonObject", value).get(key) if isinstance(value, dict) else None


def _first(error: object) -> str:
    """Return where and why the first check of the library failed."""
    found = cast("JsonObject", error)
    place = ".".join(str(step) for step in cast("tuple[object, ...]", found.get("loc", ())))
    return f"{place}: {found.get('msg')}"[:200] if place else str(found.get("msg"))[:200]
