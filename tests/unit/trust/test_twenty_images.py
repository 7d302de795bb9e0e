"""Twenty images at one gate each: what each got. Signatures of keys are cosign's, keyless ones of our own instance."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_syncer.errors import NotTrusted
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.trust.bundle import BUNDLE_TYPE
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.trust_settings import KeylessSigner, KeySigner, Requirement, Severity, Signer, TrustSettings
from support.signed_images import COSIGN, Attached, made_by_cosign, moved
from support.sigstore_instance import IDENTITY, ISSUER, SIGNED_AT, SigstoreInstance

RELEASE: Final = KeySigner((COSIGN / "release.pub").read_bytes(), "release.pub")
ROOT: Final = made_by_cosign("bundle")[1]
SIGSTORE: Final = SigstoreInstance()
KEYLESS: Final = KeylessSigner(ISSUER, SIGSTORE.trusted_root, IDENTITY)
SBOM: Final = Requirement(ReferrerKind.SBOM)
SCAN: Final = Requirement(ReferrerKind.SCAN, max_severity=Severity.MEDIUM)
PROVENANCE: Final = Requirement(ReferrerKind.PROVENANCE, builder="https://example.com/builder")


def cosign(case: str) -> Attached:
    """Return what cosign attached."""
    return made_by_cosign(case)[0]


def tampered(case: str) -> Attached:
    """Return *case* with one bit of each signed layer changed."""
    attached = cosign(case)
    layers = [digest for digest, content in attached.contents.items() if b"schemaVersion" not in content]
    assert layers
    for digest in layers:
        content = bytearray(attached.contents[digest])
        # In both forms a later letter of a name or of base64: the text still parses.
        place = content.index(b"legacy") if b"legacy" in content else content.index(b'"payload":"') + 60
        content[place] ^= 0x02
        attached.contents[digest] = bytes(content)
    return attached


def keyless(bundle: bytes) -> Attached:
    """Return an image with one keyless signature."""
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, bundle, {})], BUNDLE_TYPE)
    return attached


def another_log() -> ec.EllipticCurvePrivateKey:
    """Return the key of a log that the trusted root does not have."""
    return ec.generate_private_key(ec.SECP256R1())


PASSES: Final = ""
IMAGES: Final[Mapping[str, tuple[Callable[[], Attached], Signer, tuple[Requirement, ...], str]]] = {
    "unsigned": (Attached, RELEASE, (), "nothing is attached"),
    "signed by another key, bundle": (lambda: cosign("stranger-bundle"), RELEASE, (), "signed by another key"),
    "signed by another key, legacy": (lambda: cosign("stranger-legacy"), RELEASE, (), "signed by another key"),
    "right key, bundle": (lambda: cosign("bundle"), RELEASE, (), PASSES),
    "right key, legacy": (lambda: cosign("legacy"), RELEASE, (), PASSES),
    "tampered payload, bundle": (lambda: tampered("bundle"), RELEASE, (), "not signed by"),
    "tampered payload, legacy": (lambda: tampered("legacy"), RELEASE, (), "changed since"),
    "signature of another digest, bundle": (lambda: moved("other-image", ROOT), RELEASE, (), "another digest"),
    "keyless, inside the validity": (lambda: keyless(SIGSTORE.bundle(ROOT)), KEYLESS, (), PASSES),
    "keyless, outside the validity": (
        lambda: keyless(SIGSTORE.bundle(ROOT, logged_at=SIGNED_AT + timedelta(hours=1))),
        KEYLESS,
        (),
        "not valid at validation time",
    ),
    "keyless, wrong identity": (
        lambda: keyless(SIGSTORE.bundle(ROOT, identity="evil@example.com")),
        KEYLESS,
        (),
        "the certificate is of evil@example.com",
    ),
    "keyless, wrong issuer": (
        lambda: keyless(SIGSTORE.bundle(ROOT, issuer="https://evil.example")),
        KEYLESS,
        (),
        "not of the issuer",
    ),
    "keyless, wrong log": (lambda: keyless(SIGSTORE.bundle(ROOT, log=another_log())), KEYLESS, (), "log entry"),
    "keyless image at a gate with a key": (
        lambda: keyless(SIGSTORE.bundle(ROOT)),
        RELEASE,
        (),
        "a keyless signature; the rule has only keys",
    ),
    "SBOM absent": (lambda: cosign("bundle"), RELEASE, (SBOM,), "an SBOM is required"),
    "SBOM present": (lambda: cosign("facts"), RELEASE, (SBOM,), PASSES),
    "SBOM unsigned": (lambda: cosign("unsigned-sbom"), RELEASE, (SBOM,), "is not signed by"),
    "SARIF below": (lambda: cosign("facts"), RELEASE, (SCAN,), PASSES),
    "SARIF above": (lambda: cosign("scan-high"), RELEASE, (SCAN,), "is high"),
    "provenance of the builder": (lambda: cosign("facts"), RELEASE, (PROVENANCE, SBOM, SCAN), PASSES),
}


def test_the_table_has_twenty_rows() -> None:
    """And each is another image or another gate."""
    assert len(IMAGES) == 20


@pytest.mark.parametrize("name", IMAGES)
async def test_each_image_gets_what_it_deserves(name: str) -> None:
    """It passes, or is refused for the right reason in one line that names it."""
    make, signer, requirements, expected = IMAGES[name]
    gate = TrustGate(TrustSettings((signer,), requirements=requirements))
    image = make().image(ROOT)
    if expected == PASSES:
        await gate.check(image)
        return
    with pytest.raises(NotTrusted) as refused:
        await gate.check(image)
    message = str(refused.value)
    assert expected in message
    assert message.isprintable()
    assert f"source.example/team/app:v1 ({ROOT})" in message


def test_all_cases_are_of_the_same_image() -> None:
    """So that a signature that counts for the wrong reason would show."""
    assert ROOT == made_by_cosign("scan-high")[1] == made_by_cosign("legacy")[1]
    assert made_by_cosign("other-image")[1] != ROOT
    assert Digest.parse(str(ROOT)) == ROOT
