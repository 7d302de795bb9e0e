"""Our own word about copies: signed in-toto statements, attached to the image at the target (`attest:` of a rule).

docs/reference/attestation.md describes the statement; a change of its meaning needs a new version of the predicate.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from image_syncer import __version__
from image_syncer.bounded_json import JsonObject
from image_syncer.errors import NotTrusted, ProtocolError, TooLarge
from image_syncer.oci import Descriptor, Digest, Manifest, RawManifest, Reference, media_type
from image_syncer.oci.referrer import BUNDLE_TYPE_PREFIX, PREDICATE_ANNOTATION
from image_syncer.roles import ConfirmedCopy, MadeReferrer, ReferrerStores, Stores
from image_syncer.structs import Struct
from image_syncer.trust.bundle import BUNDLE_TYPE, parse_bundle
from image_syncer.trust.dsse import PAYLOAD_TYPE, STATEMENT_TYPE, pae, statement_of
from image_syncer.trust.keys import PublicKey, load_private_key, load_public_key
from image_syncer.trust.trust_settings import AttestSettings

PREDICATE_TYPE: Final = "urn:image-syncer:copy:v1"
KEY_ANNOTATION: Final = "image-syncer.attestation.key"
COPY_ANNOTATION: Final = "image-syncer.attestation.copy"

STATEMENT_LIMIT_BYTES: Final = 1024 * 1024
"""The largest bundle that is read when statements are verified; ours have two kilobytes."""

STATEMENTS_LIMIT: Final = 100
"""How many attached manifests are looked at when statements are verified."""

_EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_REASONS_LIMIT: Final = 3


class CopyStatement(Struct):
    """What a verified statement says: the image is a copy of *source_reference*, which had *source_digest*.

    *copied_at* is RFC 3339 in UTC; *verified* lists what a gate checked before the copy.
    """

    digest: Digest
    source_reference: str
    source_digest: str
    target_reference: str
    copied_at: str
    rule: str
    tool: str
    verified: tuple[str, ...]
    attached: Digest


class CopyAttester:
    """Makes statements with the key of *settings* (`roles.Attester`); `UsageError` if the key cannot be used."""

    def __init__(self, settings: AttestSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._key = load_private_key(settings.pem, f"the key {settings.name}" if settings.name else "attest: `key`")
        self._verified = settings.verified
        self._clock = clock

    def attest(self, copy: ConfirmedCopy, subject: Descriptor) -> MadeReferrer:
        """Return the statement about *copy* as a referrer of its manifest *subject* at the target."""
        now = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        payload = _json(_statement(copy, subject.digest, now, self._verified))
        bundle = _json(
            {
                "mediaType": BUNDLE_TYPE,
                "verificationMaterial": {"publicKey": {"hint": self._key.public.hint}, "tlogEntries": []},
                "dsseEnvelope": {
                    "payload": base64.b64encode(payload).decode(),
                    "payloadType": PAYLOAD_TYPE,
                    "signatures": [{"sig": base64.b64encode(self._key.sign(pae(PAYLOAD_TYPE, payload))).decode()}],
                },
            }
        )
        annotations = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            PREDICATE_ANNOTATION: PREDICATE_TYPE,
            "org.opencontainers.image.created": now,
            KEY_ANNOTATION: self._key.public.hint,
            COPY_ANNOTATION: self._copy_identifier(copy),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": media_type.OCI_MANIFEST,
            "artifactType": BUNDLE_TYPE,
            "config": _descriptor(_EMPTY_TYPE, _EMPTY),
            "layers": [_descriptor(BUNDLE_TYPE, bundle)],
            "subject": {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size},
            "annotations": annotations,
        }
        manifest = RawManifest.of(_json(document), media_type.OCI_MANIFEST)
        return MadeReferrer(manifest, {Digest.of(_EMPTY): _EMPTY, Digest.of(bundle): bundle})

    def is_ours(self, entry: Descriptor, copy: ConfirmedCopy) -> bool:
        """Whether *entry* of the target's list is such a statement about *copy*, signed with the same key."""
        annotations: Mapping[str, str] = entry.annotations
        return annotations.get(KEY_ANNOTATION) == self._key.public.hint and annotations.get(
            COPY_ANNOTATION
        ) == self._copy_identifier(copy)

    def _copy_identifier(self, copy: ConfirmedCopy) -> str:
        """Return a text that stays the same while the statement would: whatever the tags, and whenever it is made."""
        parts = (
            PREDICATE_TYPE,
            copy.rule,
            str(copy.source.repository),
            str(copy.source_digest),
            str(copy.target.repository),
            str(copy.target_digest),
            self._verified,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_statement(bundle: bytes, subject: Digest, key: PublicKey, attached: Digest) -> CopyStatement:
    """Return the statement about *subject* in *bundle*, verified by *key*.

    `NotTrusted` if the key has not signed it, `ProtocolError` or `TooLarge` if it is no such statement.
    """
    what = str(attached)
    envelope = parse_bundle(bundle, what).envelope
    if envelope is None:
        raise ProtocolError(f"{what}: not a statement")
    if not any(key.has_signed(signature, envelope.pae) for signature in envelope.signatures):
        raise NotTrusted(f"{what}: signed by another key, or changed since")
    statement = statement_of(envelope, what)
    if statement.predicate_type != PREDICATE_TYPE:
        raise ProtocolError(f"{what}: a statement of the type {statement.predicate_type[:100]}")
    if subject not in statement.subjects:
        raise NotTrusted(f"{what}: a statement about another digest")
    predicate = _object(statement.predicate)
    source, target, tool = (_object(predicate.get(name)) for name in ("source", "target", "tool"))
    verified = predicate.get("verified")
    return CopyStatement(
        digest=subject,
        source_reference=_text(source.get("reference")),
        source_digest=_text(source.get("digest")),
        target_reference=_text(target.get("reference")),
        copied_at=_text(predicate.get("copiedAt")),
        rule=_text(predicate.get("rule")),
        tool=f"{_text(tool.get('name'))} {_text(tool.get('version'))}",
        verified=tuple(map(_text, cast("list[object]", verified) if isinstance(verified, list) else ())),
        attached=attached,
    )


async def find_statements(
    stores: Stores, referrers: ReferrerStores, reference: Reference, key: PublicKey
) -> tuple[CopyStatement, ...]:
    """Return the statements about the image at *reference* that *key* has signed, the newest first.

    `NotTrusted` without any, `StoreError` if the registry cannot be read.
    """
    repository = reference.repository
    source = stores.source(repository)
    root = await source.resolve(reference.identifier)
    found: list[CopyStatement] = []
    reasons: list[str] = []
    entries = [
        entry
        for entry in await referrers.referrer_source(repository).referrers(root.digest)
        if not entry.artifact_type or entry.artifact_type.startswith(BUNDLE_TYPE_PREFIX)
    ]
    # A list may be full of others' entries: those that say to be ours come first.
    entries.sort(key=lambda entry: entry.annotations.get(PREDICATE_ANNOTATION) != PREDICATE_TYPE)
    for entry in entries[:STATEMENTS_LIMIT]:
        try:
            manifest = (await source.manifest(str(entry.digest))).parse()
            for layer in manifest.layers if isinstance(manifest, Manifest) else ():
                if layer.media_type.startswith(BUNDLE_TYPE_PREFIX):
                    content = await _read(stores, reference, layer)
                    found.append(read_statement(content, root.digest, key, entry.digest))
        except (NotTrusted, ProtocolError, TooLarge) as error:
            reasons.append(error.message)
    if not found:
        why = "; ".join(reasons[:_REASONS_LIMIT]) or "no statement is attached"
        raise NotTrusted(
            f"{reference} ({root.digest}): no copy is attested by this key: {why}",
            remedy="give the public key to the private one at `attest:` of the rule",
        )
    return tuple(sorted(found, key=lambda one: one.copied_at, reverse=True))


def load_verification_key(pem: bytes, what: str) -> PublicKey:
    """Return the public key in *pem*, or that of a private key; `UsageError` that names *what*."""
    if b"PRIVATE KEY-----" in pem:
        return load_private_key(pem, what).public
    return load_public_key(pem, what)


async def _read(stores: Stores, reference: Reference, blob: Descriptor) -> bytes:
    if blob.size is None or blob.size > STATEMENT_LIMIT_BYTES:
        raise TooLarge(f"{blob.digest}: larger than {STATEMENT_LIMIT_BYTES // 1024} KiB, so no statement about a copy")
    async with stores.source(reference.repository).open(blob) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


def _statement(copy: ConfirmedCopy, subject: Digest, now: str, verified: tuple[str, ...]) -> dict[str, Any]:
    predicate: dict[str, Any] = {
        "source": {"reference": str(copy.source), "digest": str(copy.source_digest)},
        "target": {"reference": str(copy.target)},
        "rule": copy.rule,
        "copiedAt": now,
        "tool": {"name": "image-syncer", "version": __version__},
        "verified": list(verified),
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": str(copy.target.repository), "digest": {subject.algorithm: subject.encoded}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(Digest.of(content)), "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
