"""Gates with keys, on signatures that cosign made."""

import json
from collections.abc import Sequence

import pytest

from image_syncer.errors import NotTrusted, Unavailable, UsageError
from image_syncer.oci import Descriptor, Digest, RawManifest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.roles import Attachment
from image_syncer.trust.cosign_legacy import PAYLOAD_MEDIA_TYPE
from image_syncer.trust.evidence import MANIFESTS_LIMIT
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.trust_settings import KeySigner, Requirement, Severity, TrustSettings, parse_digests
from support.signed_images import COSIGN, Attached, made_by_cosign, moved

RELEASE = KeySigner((COSIGN / "release.pub").read_bytes(), "release.pub")
STRANGER = KeySigner((COSIGN / "stranger.pub").read_bytes(), "stranger.pub")
SBOM = Requirement(ReferrerKind.SBOM)
SCAN = Requirement(ReferrerKind.SCAN, max_severity=Severity.MEDIUM)
OTHER = Digest.of(b"another image")
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def trust(*requirements: Requirement, signers: Sequence[KeySigner] = (RELEASE,), unsigned: bool = False) -> TrustGate:
    """Return a gate that demands a signature of the release key."""
    return TrustGate(TrustSettings(tuple(signers), requirements=requirements, unsigned=unsigned))


def tampered(case: str, old: bytes, new: bytes) -> tuple[Attached, Digest]:
    """Return *case* with *old* replaced in the signed content, so that only the signature can notice."""
    attached, root = made_by_cosign(case)
    result = Attached()
    for one in attached.attachments:
        manifest = json.loads(attached.contents[one.entry.digest])
        layers = [
            (
                layer["mediaType"],
                attached.contents[Digest.parse(layer["digest"])].replace(old, new),
                layer.get("annotations", {}),
            )
            for layer in manifest["layers"]
        ]
        assert any(
            content != attached.contents[Digest.parse(layer["digest"])]
            for (_, content, _), layer in zip(layers, manifest["layers"], strict=True)
        )
        result.attach(root, layers, one.entry.artifact_type, one.tag)
    return result, root


async def refusal(gate: TrustGate, attached: Attached, root: Digest, platforms: Sequence[Digest] = ()) -> str:
    """Return why *gate* refuses the image; fails if it does not."""
    with pytest.raises(NotTrusted) as refused:
        await gate.check(attached.image(root, platforms))
    message = str(refused.value)
    assert "source.example/team/app:v1" in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("case", ["bundle", "legacy", "facts", "legacy-facts", "unsigned-sbom", "signed-sbom"])
async def test_an_image_that_cosign_signed_passes(case: str) -> None:
    """By a bundle or in the legacy form, with whatever else is attached."""
    attached, root = made_by_cosign(case)
    await trust().check(attached.image(root))


@pytest.mark.parametrize("case", ["stranger-bundle", "stranger-legacy"])
async def test_a_signature_by_another_key_is_refused(case: str) -> None:
    """The message names the key of the rule and what was found."""
    attached, root = made_by_cosign(case)
    message = await refusal(trust(), attached, root)
    assert message.startswith("not signed by the key release.pub: ")
    assert "signed by another key" in message


async def test_an_unsigned_image_is_refused() -> None:
    """Nothing is attached."""
    assert "nothing is attached" in await refusal(trust(), Attached(), OTHER)


@pytest.mark.parametrize("case", ["bundle", "legacy"])
async def test_a_signature_of_another_image_is_refused(case: str) -> None:
    """Though its key is the right one, and it is attached to the image."""
    message = await refusal(trust(), moved(case, OTHER), OTHER)
    assert "another digest" in message


async def test_a_tampered_legacy_payload_is_refused() -> None:
    """Its digest still is that of the image."""
    attached, root = tampered("legacy", b'"optional":null', b'"optional":{}')
    assert "changed since" in await refusal(trust(), attached, root)


async def test_a_tampered_bundle_is_refused() -> None:
    """The statement still is about the image: only a letter of its base64 changes a value."""
    attached, root = tampered("bundle", b"aW9ucyI6", b"aW9ueCI6")
    assert "changed since" in await refusal(trust(), attached, root)


async def test_attestations_are_no_signatures() -> None:
    """A statement by the right key says what it says; it does not release the image."""
    attached, root = made_by_cosign("facts")
    attached.attachments = [
        one for one in attached.attachments if b"cosign/sign/v1" not in attached.contents[one.entry.digest]
    ]
    assert len(attached.attachments) == 3
    await refusal(trust(), attached, root)


async def test_a_signature_of_a_platform_does_not_count_for_the_index() -> None:
    """As cosign has it: `cosign verify` of the tag fails as well."""
    attached, platform = made_by_cosign("bundle")
    assert "sign the index" in await refusal(trust(), attached, OTHER, [platform])


async def test_any_of_several_signers_is_enough() -> None:
    """In either order."""
    attached, root = made_by_cosign("bundle")
    for signers in ((RELEASE, STRANGER), (STRANGER, RELEASE)):
        await TrustGate(TrustSettings(signers)).check(attached.image(root))


async def test_all_signers_are_demanded_where_the_rule_says_so() -> None:
    """The message names the one that is missing; both together pass."""
    attached, root = made_by_cosign("bundle")
    gate = TrustGate(TrustSettings((RELEASE, STRANGER), all_signers=True))
    assert (await refusal(gate, attached, root)).startswith("not signed by the key stranger.pub: ")
    both, _ = made_by_cosign("stranger-legacy")
    both.attachments += attached.attachments
    both.contents |= attached.contents
    await gate.check(both.image(root))


async def test_facts_count_when_signed() -> None:
    """By bundles, in the legacy form, and by a signature of the attached manifest."""
    for case in ("facts", "legacy-facts", "signed-sbom"):
        attached, root = made_by_cosign(case)
        await trust(SBOM).check(attached.image(root))


async def test_an_unsigned_fact_counts_only_where_the_rule_says_so() -> None:
    """The image itself is signed."""
    attached, root = made_by_cosign("unsigned-sbom")
    message = await refusal(trust(SBOM), attached, root)
    assert message.startswith("an SBOM is required: ")
    assert "is not signed by the key release.pub" in message
    await trust(SBOM, unsigned=True).check(attached.image(root))


async def test_a_signed_sbom_behind_a_legacy_tag_does_not_count() -> None:
    """It names no subject, so it may be the SBOM of another image."""
    attached, root = made_by_cosign("other-image")
    signed, owner = made_by_cosign("signed-sbom")
    sbom = next(one.entry for one in signed.attachments if one.entry.artifact_type == "application/spdx+json")
    signatures = [one for one in signed.attachments if one.subject == sbom.digest]
    assert owner != root
    assert len(signatures) == 1
    attached.contents |= signed.contents
    attached.attachments += [Attachment(root, sbom, "sha256-x.sbom"), *signatures]
    await trust().check(attached.image(root))
    await refusal(trust(SBOM), attached, root)
    await trust(SBOM, unsigned=True).check(attached.image(root))


async def test_provenance_is_checked_for_its_builder() -> None:
    """In any version of the builder, unless the rule names one."""
    attached, root = made_by_cosign("facts")
    for builder in ("", "https://example.com/builder", "https://example.com/builder@v1"):
        await trust(Requirement(ReferrerKind.PROVENANCE, builder=builder)).check(attached.image(root))
    for builder in ("https://example.com/builde", "https://example.com/builder@v2", "https://evil.example/"):
        await refusal(trust(Requirement(ReferrerKind.PROVENANCE, builder=builder)), attached, root)


async def test_a_scan_is_checked_for_its_worst_finding() -> None:
    """5.0 is medium, 8.1 is high."""
    attached, root = made_by_cosign("facts")
    await trust(SCAN).check(attached.image(root))
    assert "the scan" in await refusal(trust(Requirement(ReferrerKind.SCAN, max_severity=Severity.LOW)), attached, root)
    attached, root = made_by_cosign("scan-high")
    assert "is high" in await refusal(trust(SCAN), attached, root)
    await trust(Requirement(ReferrerKind.SCAN, max_severity=Severity.HIGH)).check(attached.image(root))
    attached, root = made_by_cosign("bundle")
    assert "a scan" in await refusal(trust(SCAN), attached, root)


async def test_facts_may_be_attached_to_each_platform() -> None:
    """But not to only one of them."""
    attached, platform = made_by_cosign("facts")
    gate = TrustGate(TrustSettings(requirements=(SBOM,), unsigned=True))
    await gate.check(attached.image(OTHER, [platform]))
    await refusal(gate, attached, OTHER, [platform, Digest.of(b"another platform")])


async def test_only_listed_digests_pass() -> None:
    """Without any library."""
    allowed = parse_digests(f"# comment\n\nregistry.example/app@{OTHER}  # ours\n", "allowed.txt")
    gate = TrustGate(TrustSettings(digests=allowed))
    await gate.check(Attached().image(OTHER))
    assert "not among the 1 allowed" in await refusal(gate, Attached(), Digest.of(b"x"))


async def test_hostile_numbers_of_signatures_are_bounded() -> None:
    """More than a hundred manifests are not looked at; the message says so."""
    attached = Attached()
    for number in range(MANIFESTS_LIMIT + 50):
        attached.attach(OTHER, [(PAYLOAD_MEDIA_TYPE, b"{%d" % number, {"dev.cosignproject.cosign/signature": "AAAA"})])
    message = await refusal(trust(), attached, OTHER)
    assert attached.reads == MANIFESTS_LIMIT
    assert "and 98 more" in message


async def test_a_source_that_is_down_refuses_nothing() -> None:
    """The image fails for that reason instead, and is tried again."""

    class Down(Attached):
        async def manifest(self, attachment: Attachment) -> RawManifest:  # noqa: ARG002 - a role
            raise Unavailable("source.example: timed out")

    attached = Down()
    attached.attach(OTHER, [(BUNDLE, b"{}", {})], BUNDLE)
    with pytest.raises(Unavailable):
        await trust().check(attached.image(OTHER))


async def test_a_referrer_that_is_gone_does_not_count() -> None:
    """The message says what is missing."""
    attached, root = made_by_cosign("bundle")
    attached.contents.clear()
    assert "no such content" in await refusal(trust(), attached, root)


async def test_a_referrer_of_another_subject_does_not_count() -> None:
    """Whatever the list says."""
    attached, root = made_by_cosign("bundle")
    only = attached.attachments[0]
    attached.attachments = [Attachment(OTHER, Descriptor(only.entry.media_type, only.entry.digest, 1))]
    assert "does not name the image" in await refusal(trust(), attached, OTHER)
    assert root


def test_the_settings_change_with_the_key() -> None:
    """So that unchanged images are checked again; the name of the file does not matter."""
    renamed = KeySigner(RELEASE.pem, "renamed.pub")
    assert trust().settings == trust(signers=[renamed]).settings
    settings = {
        trust().settings,
        trust(signers=[STRANGER]).settings,
        trust(SBOM).settings,
        trust(SBOM, unsigned=True).settings,
        trust(SCAN).settings,
    }
    assert len(settings) == 5


def test_settings_that_let_everything_pass_are_refused() -> None:
    """And facts without anyone who has to sign them."""
    with pytest.raises(UsageError, match="every image would pass"):
        TrustSettings()
    with pytest.raises(UsageError, match="unsigned: true"):
        TrustSettings(requirements=(SBOM,))


def test_a_broken_list_of_digests_names_the_line() -> None:
    """And what is wrong."""
    with pytest.raises(UsageError, match=r"allowed\.txt:2: .sha256:12"):
        parse_digests(f"{OTHER}\nsha256:12\n", "allowed.txt")
