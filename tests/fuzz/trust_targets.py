"""Parsers of what is attached to images: any input gives a value or one of our errors. See `targets`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from fuzz import words
from image_syncer.bounded_json import parse_object
from image_syncer.errors import ImageSyncerError, NotTrusted
from image_syncer.oci import Digest, RawManifest, media_type
from image_syncer.oci.referrer import REFERRERS_LIMIT, list_digest, merge_referrers, parse_referrers
from image_syncer.trust.bundle import parse_bundle
from image_syncer.trust.cosign_legacy import PAYLOAD_MEDIA_TYPE, legacy_signatures, signed_digest
from image_syncer.trust.dsse import PAYLOAD_TYPE, pae, parse_envelope, statement_of
from image_syncer.trust.facts import Fact, fact_of_document, fact_of_statement, meets
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.trust_settings import KeySigner, Requirement, Severity, TrustSettings
from support.signed_images import COSIGN, Attached, made_by_cosign

_SUBJECT: Final = Digest.of(b"subject")
_RELEASE: Final = KeySigner((COSIGN / "release.pub").read_bytes(), "release.pub")
_GATE: Final = TrustGate(TrustSettings((_RELEASE,)))
_ROOT: Final = made_by_cosign("bundle")[1]
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


def _contents(case: str, kind: str) -> tuple[bytes, ...]:
    """Return the blobs of that media type in a case of cosign."""
    attached, _ = made_by_cosign(case)
    found: list[bytes] = []
    for one in attached.attachments:
        layers = json.loads(attached.contents[one.entry.digest])["layers"]
        found += [attached.contents[Digest.parse(one["digest"])] for one in layers if one["mediaType"] == kind]
    return tuple(found)


BUNDLES: Final = (*_contents("bundle", _BUNDLE_TYPE), *_contents("facts", _BUNDLE_TYPE))
ENVELOPES: Final = _contents("legacy-facts", "application/vnd.dsse.envelope.v1+json")
PAYLOADS: Final = _contents("legacy", PAYLOAD_MEDIA_TYPE)
_SARIF: Final[dict[str, Any]] = {
    "version": "2.1.0",
    "runs": [
        {
            "tool": {"driver": {"name": "s", "rules": [{"id": "a", "properties": {"security-severity": "5.0"}}]}},
            "results": [{"ruleId": "a/b", "level": "error", "kind": "fail"}, {"rule": {"index": 0}}],
        }
    ],
}
SCANS: Final = (
    words.dumped(_SARIF),
    words.dumped({"scanner": {"result": [{"id": "CVE", "severity": [{"method": "nvd", "score": "9.8"}]}]}}),
    words.dumped({"Results": [{"Vulnerabilities": [{"Severity": "HIGH"}]}]}),
)
INDEXES: Final = (
    words.dumped(
        {
            "schemaVersion": 2,
            "mediaType": media_type.OCI_INDEX,
            "manifests": [
                {"mediaType": media_type.OCI_MANIFEST, "digest": str(_ROOT), "size": 3, "artifactType": _BUNDLE_TYPE}
            ],
        }
    ),
)


def _or_error(parse: Callable[[], object]) -> None:
    refused: ImageSyncerError | None = None
    try:
        parse()
    except ImageSyncerError as error:
        refused = error
    assert refused is None or str(refused).isprintable()


def bundle(data: bytes) -> None:
    """Bundles: parsed, and at a gate, which lets only the statement pass that the key has signed."""
    _or_error(lambda: parse_bundle(data, "bundle"))
    attached = Attached()
    attached.attach(_ROOT, [(_BUNDLE_TYPE, data, {})], _BUNDLE_TYPE)
    refused: NotTrusted | None = None
    try:
        asyncio.run(_GATE.check(attached.image(_ROOT)))
    except NotTrusted as error:
        refused = error
    assert refused is None or str(refused).isprintable()
    if refused is None:
        envelope = parse_bundle(data, "bundle").envelope
        signed = [parse_bundle(seed, "seed").envelope for seed in BUNDLES]
        assert envelope is not None
        assert envelope.pae in [one.pae for one in signed if one is not None]


def dsse(data: bytes) -> None:
    """Envelopes and their statements; what is signed names the type and the length of the payload."""

    def parse() -> None:
        envelope = parse_envelope(data, "envelope")
        assert envelope.pae == pae(envelope.payload_type, envelope.payload)
        assert envelope.pae.endswith(envelope.payload)
        fact_of_statement(statement_of(envelope, "envelope"))

    _or_error(parse)


def scan(data: bytes) -> None:
    """Scans: a severity, or none, and never below the worst one that is allowed."""

    def parse() -> None:
        found = fact_of_document("application/sarif+json", data, "scan")
        assert found is not None
        for severity in Severity:
            requirement = Requirement(found.kind, max_severity=severity)  # pyright: ignore[reportArgumentType]
            assert meets(requirement, found) == (found.severity is not None and found.severity.rank <= severity.rank)

    _or_error(parse)
    _or_error(lambda: _whole(data))


def _whole(data: bytes) -> Fact | None:
    parse_object(data, "document")
    return fact_of_document("application/spdx+json", data, "document")


def payload(data: bytes) -> None:
    """Payloads of simple signing, and the manifests that hold them."""
    _or_error(lambda: signed_digest(data, "payload"))
    _or_error(lambda: legacy_signatures(RawManifest.of(data)))


def referrers(data: bytes) -> None:
    """Lists of referrers: parsed, digested and merged; a merge loses nothing."""

    def parse() -> None:
        raw = RawManifest.of(data, media_type.OCI_INDEX)
        found = parse_referrers(raw, _SUBJECT)
        assert len(found) <= REFERRERS_LIMIT
        list_digest(found, {})
        added = made_by_cosign("legacy")[0].attachments[0].entry
        merged = merge_referrers(raw, [added])
        after = {entry.digest for entry in parse_referrers(merged or raw, _SUBJECT)}
        assert {entry.digest for entry in found} | {added.digest} == after

    _or_error(parse)


WORDS: Final = (*words.JSON_WORDS, PAYLOAD_TYPE.encode(), b'"subject"', b'"digest"', b'"signatures"', b'"sig"')
