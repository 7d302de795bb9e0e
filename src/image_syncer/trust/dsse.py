"""DSSE envelopes and the in-toto statements in them (secure-systems-lab/dsse, in-toto/attestation)."""

import base64
import binascii
from typing import Final, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import InvalidReference, ProtocolError, TooLarge
from image_syncer.oci import Digest
from image_syncer.structs import Struct

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_STATEMENT_TYPES: Final = frozenset({STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1"})

SIGNATURES_LIMIT: Final = 16
"""How many signatures one envelope may have."""

SUBJECTS_LIMIT: Final = 1_000
"""How many subjects one statement may have."""

VALUES_LIMIT: Final = 500_000
"""How many values a signed document may have: a large SBOM has some hundred thousand."""


class Envelope(Struct):
    """A signed payload; each of *signatures* is over `pae` of the envelope."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def pae(self) -> bytes:
        """The bytes that are signed."""
        return pae(self.payload_type, self.payload)


class Statement(Struct):
    """An in-toto statement: a *predicate* about the content with the digests *subjects*."""

    subjects: frozenset[Digest]
    predicate_type: str
    predicate: object


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding of a payload: the bytes that a DSSE signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(content: bytes, what: str) -> Envelope:
    """Return the envelope in *content*; `ProtocolError` or `TooLarge`, which name *what*."""
    return read_envelope(parse_object(content, what, values=VALUES_LIMIT), what)


def read_envelope(document: JsonObject, what: str) -> Envelope:
    """Return the envelope in the parsed *document*."""
    payload_type, signatures = document.get("payloadType"), document.get("signatures")
    if not isinstance(payload_type, str) or not isinstance(signatures, list):
        raise ProtocolError(f"{what}: not a DSSE envelope")
    entries = cast("list[object]", signatures)
    if not entries or len(entries) > SIGNATURES_LIMIT:
        raise ProtocolError(f"{what}: {len(entries)} signatures; an envelope has 1 to {SIGNATURES_LIMIT}")
    found: list[bytes] = []
    for entry in entries:
        signature = cast("JsonObject", entry).get("sig") if isinstance(entry, dict) else None
        found.append(decode_base64(signature, f"{what}: its signature"))
    return Envelope(payload_type, decode_base64(document.get("payload"), f"{what}: its payload"), tuple(found))


def parse_statement(content: bytes, what: str) -> Statement:
    """Return the in-toto statement in *content*; `ProtocolError` or `TooLarge`, which name *what*."""
    document = parse_object(content, what, values=VALUES_LIMIT)
    predicate_type, subjects = document.get("predicateType"), document.get("subject")
    if document.get("_type") not in _STATEMENT_TYPES or not isinstance(predicate_type, str):
        raise ProtocolError(f"{what}: not an in-toto statement")
    if not isinstance(subjects, list):
        raise ProtocolError(f"{what}: a statement about nothing")
    entries = cast("list[object]", subjects)
    if len(entries) > SUBJECTS_LIMIT:
        raise TooLarge(f"{what}: more than {SUBJECTS_LIMIT} subjects")
    digests = frozenset(digest for entry in entries for digest in _digests(entry))
    return Statement(digests, predicate_type, document.get("predicate"))


def statement_of(envelope: Envelope, what: str) -> Statement:
    """Return the statement in *envelope*, whose signature the caller checks; `ProtocolError` for other payloads."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ProtocolError(f"{what}: its payload is {envelope.payload_type[:100]}, not an in-toto statement")
    return parse_statement(envelope.payload, what)


def decode_base64(text: object, what: str) -> bytes:
    """Return the bytes in the base64 *text*; `ProtocolError` that names *what*."""
    if not isinstance(text, str) or not text:
        raise ProtocolError(f"{what} is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{what} is not base64") from None


def _digests(subject: object) -> list[Digest]:
    """Return the digests of one subject that this tool can verify."""
    digest = cast("JsonObject", subject).get("digest") if isinstance(subject, dict) else None
    if not isinstance(digest, dict):
        return []
    found: list[Digest] = []
    for algorithm, encoded in list(cast("JsonObject", digest).items())[:SIGNATURES_LIMIT]:
        try:
            found.append(Digest.parse(f"{algorithm}:{encoded}"))
        except InvalidReference:
            continue
    return found
