"""Lists of referrers: what counts as one, how entries are merged, and which tags belong to them."""

import json

import pytest

from image_syncer.errors import ProtocolError, TooLarge
from image_syncer.oci import Descriptor, Digest, RawManifest, media_type
from image_syncer.oci.referrer import (
    ReferrerKind,
    is_referrer_tag,
    kind_of,
    legacy_tags,
    list_digest,
    merge_referrers,
    parse_referrers,
    referrer_entry,
    referrers_tag,
    subject_of_tag,
)

SUBJECT = Digest.of(b"subject")
OTHER = Digest.of(b"other")


def descriptor(name: str, artifact_type: str = "", **annotations: str) -> Descriptor:
    """Return the entry of a manifest with the content *name*."""
    content = name.encode()
    return Descriptor(media_type.OCI_MANIFEST, Digest.of(content), len(content), None, annotations, artifact_type)


def index(*entries: dict[str, object], **keys: object) -> RawManifest:
    """Return an OCI index of *entries*."""
    document = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": list(entries), **keys}
    return RawManifest.of(json.dumps(document).encode(), media_type.OCI_INDEX)


def entry(name: str, **keys: object) -> dict[str, object]:
    """Return the document of an entry, as registries write it."""
    content = name.encode()
    known = {"mediaType": media_type.OCI_MANIFEST, "digest": str(Digest.of(content)), "size": len(content)}
    return known | keys


def test_the_tag_schema_replaces_the_colon_and_cuts_long_digests() -> None:
    """Distribution-spec: the encoded part has at most 64 characters."""
    assert referrers_tag(SUBJECT) == f"sha256-{SUBJECT.encoded}"
    long = Digest.of(b"", "sha512")
    assert referrers_tag(long) == f"sha512-{long.encoded[:64]}"
    assert legacy_tags(SUBJECT)[0] == f"sha256-{SUBJECT.encoded}.sig"


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_a_referrer_tag_names_its_subject(suffix: str) -> None:
    """Both the tag schema and cosign's legacy tags name it."""
    tag = f"sha256-{SUBJECT.encoded}{suffix}"
    assert is_referrer_tag(tag)
    assert subject_of_tag(tag) == SUBJECT


@pytest.mark.parametrize("tag", ["1.0", "sha256-abc", f"sha256-{SUBJECT.encoded}.txt", f"v-sha256-{SUBJECT.encoded}"])
def test_other_tags_name_no_subject(tag: str) -> None:
    """Versions and names of people are not mistaken for them."""
    assert not is_referrer_tag(tag)
    assert subject_of_tag(tag) is None


def test_a_cut_digest_names_no_subject() -> None:
    """The rest of a sha512 digest is lost in its tag."""
    tag = referrers_tag(Digest.of(b"", "sha512"))
    assert is_referrer_tag(tag)
    assert subject_of_tag(tag) is None


def test_a_list_has_each_referrer_once_with_its_type() -> None:
    """Repeated entries count once."""
    raw = index(entry("a", artifactType="application/spdx+json"), entry("a"), entry("b", annotations={"k": "v"}))
    first, second = parse_referrers(raw, SUBJECT)
    assert first.digest == Digest.of(b"a")
    assert second.annotations == {"k": "v"}


def test_the_subject_itself_is_no_list_of_its_referrers() -> None:
    """GitLab answers the tag of the tag schema with the image."""
    raw = index(entry("a"))
    with pytest.raises(ProtocolError, match="no OCI index of its own"):
        parse_referrers(raw, raw.digest)


def test_the_index_of_an_image_is_no_list_of_referrers() -> None:
    """Its entries have platforms, or are the children of the subject."""
    with pytest.raises(ProtocolError, match="index of an image"):
        parse_referrers(index(entry("a", platform={"os": "linux", "architecture": "amd64"})), SUBJECT)
    with pytest.raises(ProtocolError, match="index of an image"):
        parse_referrers(index(entry("a")), SUBJECT, children=[Digest.of(b"a")])


def test_a_manifest_is_no_list_of_referrers() -> None:
    """Only an OCI index lists referrers."""
    raw = RawManifest.of(b'{"schemaVersion":2,"layers":[]}', media_type.OCI_MANIFEST)
    with pytest.raises(ProtocolError):
        parse_referrers(raw, SUBJECT)


def test_too_many_referrers_are_refused() -> None:
    """A hostile registry cannot make a copy endless."""
    with pytest.raises(TooLarge, match="more than 1000"):
        parse_referrers(index(*(entry(str(number)) for number in range(1_001))), SUBJECT)


def test_merging_keeps_entries_and_keys_of_others() -> None:
    """An existing index belongs to others too."""
    existing = index(entry("a", **{"x-other": 1}), annotations={"by": "others"})
    merged = merge_referrers(existing, [descriptor("a"), descriptor("b", "application/spdx+json", k="v")])
    assert merged is not None
    assert merged.document["annotations"] == {"by": "others"}
    first, second = merged.document["manifests"]
    assert first == entry("a", **{"x-other": 1})
    assert second == entry("b", artifactType="application/spdx+json", annotations={"k": "v"})


def test_merging_nothing_new_changes_nothing() -> None:
    """Then no request is sent."""
    assert merge_referrers(index(entry("a")), [descriptor("a")]) is None
    assert merge_referrers(None, []) is None


def test_a_new_list_is_an_index_that_registries_accept() -> None:
    """Our own index passes our own parser."""
    merged = merge_referrers(None, [descriptor("a", "x/y")])
    assert merged is not None
    assert RawManifest.of(merged.content, media_type.OCI_INDEX) == merged
    assert [one.digest for one in parse_referrers(merged, SUBJECT)] == [Digest.of(b"a")]


def test_an_entry_takes_its_type_from_the_config_where_none_is_declared() -> None:
    """Annotations that are no text are left out."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.example+json", "digest": str(OTHER), "size": 2},
        "layers": [],
        "subject": {"mediaType": media_type.OCI_MANIFEST, "digest": str(SUBJECT), "size": 7},
        "annotations": {"k": "v", "number": 1},
    }
    raw = RawManifest.of(json.dumps(document).encode(), media_type.OCI_MANIFEST)
    found = referrer_entry(raw)
    assert (found.artifact_type, found.annotations) == ("application/vnd.example+json", {"k": "v"})
    assert (found.digest, found.size) == (raw.digest, len(raw.content))
    declared = RawManifest.of(json.dumps(document | {"artifactType": "a/b"}).encode(), media_type.OCI_MANIFEST)
    assert referrer_entry(declared).artifact_type == "a/b"


BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@pytest.mark.parametrize(
    ("artifact_type", "predicate", "kind"),
    [
        (BUNDLE, "https://sigstore.dev/cosign/sign/v1", ReferrerKind.SIGNATURE),
        (BUNDLE, "", ReferrerKind.SIGNATURE),
        (BUNDLE, "https://slsa.dev/provenance/v1", ReferrerKind.PROVENANCE),
        (BUNDLE, "https://spdx.dev/Document", ReferrerKind.SBOM),
        (BUNDLE, "https://example.com/review", ReferrerKind.ATTESTATION),
        ("application/spdx+json", "", ReferrerKind.SBOM),
        ("application/vnd.cyclonedx+json", "", ReferrerKind.SBOM),
        ("application/sarif+json", "", ReferrerKind.SCAN),
        ("application/vnd.openvex+json", "", ReferrerKind.VEX),
        ("application/vnd.cncf.notary.signature", "", ReferrerKind.SIGNATURE),
        ("application/vnd.in-toto+json", "", ReferrerKind.ATTESTATION),
        ("application/vnd.example", "", ReferrerKind.OTHER),
        ("", "", ReferrerKind.OTHER),
    ],
)
def test_the_kind_follows_from_the_types(artifact_type: str, predicate: str, kind: ReferrerKind) -> None:
    """The predicate type counts before the artifact type."""
    annotations = {"dev.sigstore.bundle.predicateType": predicate} if predicate else {}
    assert kind_of(descriptor("a", artifact_type, **annotations)) is kind


def test_the_digest_of_a_list_changes_with_its_content_only() -> None:
    """The order of a list means nothing."""
    one, two = descriptor("a"), descriptor("b")
    assert list_digest([one, two], {"t": OTHER}) == list_digest([two, one], {"t": OTHER})
    assert list_digest([one], {}) != list_digest([one, two], {})
    assert list_digest([one], {}) != list_digest([one], {"t": OTHER})
    assert list_digest([one], {"t": SUBJECT}) != list_digest([one], {"t": OTHER})
