"""Keyless signatures of a Sigstore instance that the tests run: certificates, logs and identities."""

import json
from datetime import timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_syncer.errors import NotTrusted, UsageError
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.trust.bundle import BUNDLE_TYPE
from image_syncer.trust.cosign_legacy import PAYLOAD_MEDIA_TYPE
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.trust_settings import KeylessSigner, Requirement, TrustSettings
from support.signed_images import Attached
from support.sigstore_instance import IDENTITY, ISSUER, SIGNED_AT, SigstoreInstance

ROOT = Digest.of(b"the image")


@pytest.fixture(scope="module")
def sigstore() -> SigstoreInstance:
    """One instance for all tests: it keeps nothing of what it signs."""
    return SigstoreInstance()


def gate_for(
    sigstore: SigstoreInstance, *, identity: str = IDENTITY, regex: str = "", issuer: str = ISSUER
) -> TrustGate:
    """Return a gate for one identity."""
    return TrustGate(TrustSettings((KeylessSigner(issuer, sigstore.trusted_root, "" if regex else identity, regex),)))


async def check(gate: TrustGate, bundle: bytes) -> None:
    """Check an image with only *bundle* attached."""
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, bundle, {})], BUNDLE_TYPE)
    await gate.check(attached.image(ROOT))


async def refusal(gate: TrustGate, bundle: bytes) -> str:
    """Return why *gate* refuses the image; fails if it does not."""
    with pytest.raises(NotTrusted) as refused:
        await check(gate, bundle)
    assert str(refused.value).isprintable()
    return str(refused.value)


async def test_a_signature_inside_the_validity_of_its_certificate_passes(sigstore: SigstoreInstance) -> None:
    """The certificate has expired since: it was valid for ten minutes, long ago."""
    for minutes in (0, 5, 10):
        await check(gate_for(sigstore), sigstore.bundle(ROOT, logged_at=SIGNED_AT + timedelta(minutes=minutes)))


async def test_a_signature_outside_the_validity_of_its_certificate_is_refused(sigstore: SigstoreInstance) -> None:
    """Before or after: a stolen key is of no use later."""
    for minutes in (-1, 11, 60 * 24 * 300):
        bundle = sigstore.bundle(ROOT, logged_at=SIGNED_AT + timedelta(minutes=minutes))
        assert "not valid at validation time" in await refusal(gate_for(sigstore), bundle)


async def test_another_identity_is_refused(sigstore: SigstoreInstance) -> None:
    """The message names the one that was found."""
    bundle = sigstore.bundle(ROOT, identity="https://github.com/evil/app/.github/workflows/release.yml@refs/tags/v1")
    assert "https://github.com/evil/app" in await refusal(gate_for(sigstore), bundle)


async def test_another_issuer_is_refused(sigstore: SigstoreInstance) -> None:
    """Though the identity is the same text."""
    bundle = sigstore.bundle(ROOT, issuer="https://evil.example")
    assert f"not of the issuer {ISSUER}" in await refusal(gate_for(sigstore), bundle)


async def test_another_log_is_refused(sigstore: SigstoreInstance) -> None:
    """Its key is not in the trusted root."""
    bundle = sigstore.bundle(ROOT, log=ec.generate_private_key(ec.SECP256R1()))
    assert "log entry" in await refusal(gate_for(sigstore), bundle)


async def test_another_certificate_authority_is_refused(sigstore: SigstoreInstance) -> None:
    """With all the same names."""
    assert "chain" in await refusal(gate_for(sigstore), SigstoreInstance().bundle(ROOT))


async def test_a_signature_of_another_image_is_refused(sigstore: SigstoreInstance) -> None:
    """The statement names another digest."""
    assert "another digest" in await refusal(gate_for(sigstore), sigstore.bundle(Digest.of(b"another")))


async def test_a_changed_statement_is_refused(sigstore: SigstoreInstance) -> None:
    """It is about the image now, and the signature does not cover it."""
    bundle = json.loads(sigstore.bundle(Digest.of(b"another")))
    bundle["dsseEnvelope"]["payload"] = json.loads(sigstore.bundle(ROOT))["dsseEnvelope"]["payload"]
    assert "invalid signature" in await refusal(gate_for(sigstore), json.dumps(bundle).encode())


@pytest.mark.parametrize(
    ("regex", "passes"),
    [
        (r"https://github\.com/team/app/\.github/workflows/release\.yml@refs/tags/v.*", True),
        (r"https://github\.com/team/.*", True),
        (r"https://github\.com/team/app", False),
        (r"team/app", False),
        (r".*refs/tags/v", False),
        (r"https://github\.com/team/nothing|.*", True),
    ],
)
async def test_the_expression_matches_the_whole_identity(sigstore: SigstoreInstance, regex: str, passes: bool) -> None:
    """A part of it is not enough: `team/app` is in `https://evil.example/team/app` too."""
    gate, bundle = gate_for(sigstore, regex=regex), sigstore.bundle(ROOT)
    if passes:
        await check(gate, bundle)
    else:
        await refusal(gate, bundle)


async def test_an_address_is_an_identity(sigstore: SigstoreInstance) -> None:
    """People sign with e-mail addresses."""
    bundle = sigstore.bundle(ROOT, identity="dev@example.com")
    await check(gate_for(sigstore, identity="dev@example.com"), bundle)
    await refusal(gate_for(sigstore, identity="dev@example.co"), bundle)


async def test_a_keyless_attestation_counts_as_a_fact(sigstore: SigstoreInstance) -> None:
    """Beside a signature of the same identity."""
    settings = gate_for(sigstore).trust
    gate = TrustGate(TrustSettings(settings.signers, requirements=(Requirement(ReferrerKind.SBOM),)))
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, sigstore.bundle(ROOT), {})], BUNDLE_TYPE)
    by_others = sigstore.bundle(ROOT, predicate_type="https://spdx.dev/Document", identity="evil@example.com")
    attached.attach(ROOT, [(BUNDLE_TYPE, by_others, {})], BUNDLE_TYPE)
    with pytest.raises(NotTrusted, match="an SBOM is required"):
        await gate.check(attached.image(ROOT))
    sbom = sigstore.bundle(ROOT, predicate_type="https://spdx.dev/Document")
    attached.attach(ROOT, [(BUNDLE_TYPE, sbom, {})], BUNDLE_TYPE)
    await gate.check(attached.image(ROOT))


async def test_a_legacy_keyless_signature_is_named_as_what_is_not_verified(sigstore: SigstoreInstance) -> None:
    """It has no proof of inclusion, which the library demands."""
    attached = Attached()
    notes = {"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/certificate": "x"}
    attached.attach(ROOT, [(PAYLOAD_MEDIA_TYPE, b"{}", notes)], tag=f"sha256-{ROOT.encoded}.sig")
    with pytest.raises(NotTrusted, match="legacy form, which is not verified"):
        await gate_for(sigstore).check(attached.image(ROOT))


def test_wrong_settings_are_refused_at_once(sigstore: SigstoreInstance) -> None:
    """Before any registry is asked."""
    root = sigstore.trusted_root
    wrong = [
        (KeylessSigner(ISSUER, root), "identity"),
        (KeylessSigner(ISSUER, root, IDENTITY, ".*"), "one of them"),
        (KeylessSigner("", root, IDENTITY), "issuer"),
        (KeylessSigner(ISSUER, root, "", "("), "no regular expression"),
        (KeylessSigner(ISSUER, b"{}", IDENTITY), "trusted root"),
        (KeylessSigner(ISSUER, b"x" * 2_000_000, IDENTITY), "larger than"),
    ]
    for signer, message in wrong:
        with pytest.raises(UsageError, match=message):
            TrustGate(TrustSettings((signer,)))


async def test_damaged_bundles_are_refused_and_nothing_else(sigstore: SigstoreInstance) -> None:
    """Whatever the library meets in them: each mutation is refused with a reason, or leaves what is signed as it is."""
    gate, whole, rng = gate_for(sigstore), sigstore.bundle(ROOT), Random(14)
    payload = json.loads(whole)["dsseEnvelope"]["payload"]
    reasons: list[str] = []
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(len(content))] = rng.choice(b'A0"{[,:}]x\\')
        try:
            await check(gate, bytes(content))
        except NotTrusted as error:
            reasons.append(str(error))
        else:
            assert json.loads(content)["dsseEnvelope"]["payload"] == payload
    assert len(reasons) > 100
    assert all(reason.isprintable() for reason in reasons)
