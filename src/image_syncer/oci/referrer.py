"""Referrers: manifests that belong to another one by their `subject`, and the tags that stand in for them.

Registries with the referrers API list them (distribution-spec, "Listing Referrers"). Elsewhere the tag of the *tag
schema* (`sha256-<hex>`) names an index of them. Older cosign versions instead put single manifests beside the image, at
the tags `sha256-<hex>.sig`, `.att` and `.sbom`.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final, cast

from image_syncer.bounded_json import JsonObject
from image_syncer.errors import ProtocolError, TooLarge
from image_syncer.oci import media_type
from image_syncer.oci.descriptor import Descriptor
from image_syncer.oci.digest import Digest
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES, Index, Manifest, RawManifest

REFERRERS_LIMIT: Final = 1_000
"""The most referrers of one subject that are followed."""

REFERRERS_DEPTH_LIMIT: Final = 4
"""How deep referrers of referrers are followed: a signature of an SBOM is at depth 2."""

BUNDLE_TYPE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
LEGACY_SUFFIXES: Final = ("sig", "att", "sbom")
"""The suffixes of cosign's legacy tags."""

_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64})(?:\.(sig|att|sbom))?")
_TAG_PREFIX = "sha"
_ENCODED_LIMIT = 64
_ALGORITHM_LIMIT = 32


class ReferrerKind(StrEnum):
    """What a referrer is, for reports and rules; derived from types that its author chose, so it proves nothing."""

    SIGNATURE = "signature"
    ATTESTATION = "attestation"
    SBOM = "sbom"
    PROVENANCE = "provenance"
    SCAN = "scan"
    VEX = "vex"
    OTHER = "other"


# The first pattern that matches counts. Predicate types are matched before artifact types.
_KINDS: Final = (
    (re.compile(r"spdx|cyclonedx|syft|sbom", re.IGNORECASE), ReferrerKind.SBOM),
    (re.compile(r"provenance", re.IGNORECASE), ReferrerKind.PROVENANCE),
    (re.compile(r"vex", re.IGNORECASE), ReferrerKind.VEX),
    (re.compile(r"sarif|/vuln|scan|trivy|grype", re.IGNORECASE), ReferrerKind.SCAN),
    (
        re.compile(r"cosign/sign|notary|simplesigning|cosign\.artifact\.sig|signature", re.IGNORECASE),
        ReferrerKind.SIGNATURE,
    ),
    (re.compile(r"in-toto|attest|dsse", re.IGNORECASE), ReferrerKind.ATTESTATION),
)
_LEGACY_KINDS: Final = {
    "sig": ReferrerKind.SIGNATURE,
    "att": ReferrerKind.ATTESTATION,
    "sbom": ReferrerKind.SBOM,
}


def referrers_tag(subject: Digest) -> str:
    """Return the tag of the referrers tag schema for *subject* (distribution-spec, "Referrers Tag Schema")."""
    return f"{subject.algorithm[:_ALGORITHM_LIMIT]}-{subject.encoded[:_ENCODED_LIMIT]}"


def legacy_tags(subject: Digest) -> tuple[str, ...]:
    """Return the tags at which cosign's legacy form keeps what belongs to *subject*."""
    return tuple(f"{referrers_tag(subject)}.{suffix}" for suffix in LEGACY_SUFFIXES)


def is_referrer_tag(tag: str) -> bool:
    """Whether *tag* belongs to the tag schema or to cosign's legacy form, so that it names no version of an image."""
    return tag.startswith(_TAG_PREFIX) and _TAG.fullmatch(tag) is not None


def subject_of_tag(tag: str) -> Digest | None:
    """Return the subject that a tag of the tag schema or of cosign names; None for other tags.

    The tag schema cuts digests at 64 characters, so only the subject of a sha256 tag is known.
    """
    found = _TAG.fullmatch(tag)
    if found is None or found[1] != "sha256":
        return None
    return Digest("sha256", found[2])


def kind_of(entry: Descriptor) -> ReferrerKind:
    """Return the kind of the referrer *entry*, from its predicate type and its artifact type."""
    predicate = entry.annotations.get(PREDICATE_ANNOTATION, "")
    for text in (predicate, entry.artifact_type):
        for pattern, kind in _KINDS:
            if text and pattern.search(text):
                return kind
    if entry.artifact_type.startswith(BUNDLE_TYPE_PREFIX):
        return ReferrerKind.ATTESTATION if predicate else ReferrerKind.SIGNATURE
    return ReferrerKind.OTHER


def has_unknown_kind(entry: Descriptor) -> bool:
    """Whether *entry* may have another kind than `kind_of` says, since its list has not copied its annotations.

    A Sigstore bundle is a signature or any statement, and lists of the tag schema often lack the predicate type.
    """
    is_bundle = not entry.artifact_type or entry.artifact_type.startswith(BUNDLE_TYPE_PREFIX)
    return is_bundle and PREDICATE_ANNOTATION not in entry.annotations


def kind_of_legacy_tag(tag: str) -> ReferrerKind:
    """Return the kind of a legacy tag of cosign."""
    return _LEGACY_KINDS.get(tag.rpartition(".")[2], ReferrerKind.OTHER)


def referrer_entry(raw: RawManifest) -> Descriptor:
    """Return the entry that lists the referrer *raw*: with its artifact type and annotations (distribution-spec)."""
    document = raw.document
    declared: object = document.get("artifactType")
    parsed = raw.parse()
    config = parsed.config if isinstance(parsed, Manifest) else None
    artifact_type = declared if isinstance(declared, str) and declared else (config.media_type if config else "")
    annotations: object = document.get("annotations")
    texts = cast("JsonObject", annotations) if isinstance(annotations, dict) else {}
    return Descriptor(
        raw.media_type,
        raw.digest,
        len(raw.content),
        annotations={key: value for key, value in texts.items() if isinstance(value, str)},
        artifact_type=artifact_type,
    )


def parse_referrers(raw: RawManifest, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
    """Return the referrers that the index *raw* lists for *subject*, each once.

    `ProtocolError` if *raw* cannot be a list of referrers: it is no OCI index, it is *subject* itself (GitLab answers
    so), or it is an image index: its entries have platforms or are *children* of *subject*. `TooLarge` beyond
    `REFERRERS_LIMIT`. Whether a listed manifest names *subject* is known only when it is read.
    """
    parsed = raw.parse()
    if raw.digest == subject or raw.media_type != media_type.OCI_INDEX or not isinstance(parsed, Index):
        raise ProtocolError(f"{subject}: its list of referrers is no OCI index of its own")
    if any(entry.platform is not None or entry.digest in children for entry in parsed.manifests):
        raise ProtocolError(f"{subject}: its list of referrers is the index of an image")
    entries = {entry.digest: entry for entry in parsed.manifests if entry.is_manifest and entry.digest != subject}
    if len(entries) > REFERRERS_LIMIT:
        raise TooLarge(f"{subject}: more than {REFERRERS_LIMIT} referrers")
    return tuple(entries.values())


def merge_referrers(
    existing: RawManifest | None, entries: Iterable[Descriptor], *, gone: Collection[Digest] = ()
) -> RawManifest | None:
    """Return the fallback index *existing* with *entries* added and *gone* left out; None if there is nothing to add.

    Keeps what else *existing* holds, unknown keys included. `TooLarge` if the result is larger than registries accept.
    """
    document: JsonObject = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": []}
    known: frozenset[Digest] = frozenset()
    if existing is not None:
        parsed = existing.parse()  # A broken descriptor is refused here, before anything is replaced.
        if not isinstance(parsed, Index):
            raise ProtocolError(f"{existing.digest}: the list of referrers is no index")
        known = frozenset(entry.digest for entry in parsed.manifests)
        document = existing.document
    added = [_entry_document(entry) for entry in entries if entry.digest not in known]
    if not added:
        return None
    left_out = {str(digest) for digest in gone}
    kept = [entry for entry in document["manifests"] if entry["digest"] not in left_out]
    document["manifests"] = [*kept, *added]
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if len(content) > MANIFEST_LIMIT_BYTES:
        raise TooLarge(f"the referrers' index would be larger than {MANIFEST_LIMIT_BYTES // 1024**2} MiB")
    return RawManifest(media_type.OCI_INDEX, Digest.of(content), content)


def list_digest(entries: Iterable[Descriptor], legacy: Mapping[str, Digest]) -> Digest:
    """Return a digest that changes whenever a referrer or a legacy tag is added, removed or moved."""
    lines = sorted([f"{entry.digest}" for entry in entries] + [f"{tag}={digest}" for tag, digest in legacy.items()])
    return Digest.of("\n".join(lines).encode())


def _entry_document(entry: Descriptor) -> dict[str, object]:
    document: dict[str, object] = {"mediaType": entry.media_type, "digest": str(entry.digest), "size": entry.size}
    if entry.artifact_type:
        document["artifactType"] = entry.artifact_type
    if entry.annotations:
        document["annotations"] = dict(entry.annotations)
    return document
