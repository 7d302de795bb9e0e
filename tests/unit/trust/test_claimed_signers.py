"""The names that signatures give of their signers: shown, never trusted."""

import json
from collections.abc import Callable

import pytest

from image_syncer.oci import Descriptor, Digest, RawManifest
from image_syncer.trust.bundle import BUNDLE_TYPE
from image_syncer.trust.claimed_signers import SIGNERS_LIMIT, claimed_signers
from image_syncer.trust.cosign_legacy import PAYLOAD_MEDIA_TYPE
from image_syncer.trust.keyless import signer_of_certificate
from image_syncer.trust.keys import load_public_key
from support.signed_images import COSIGN, Attached, made_by_cosign
from support.sigstore_instance import IDENTITY, ISSUER, SigstoreInstance

ROOT = Digest.of(b"the image")
RELEASE = f"key {load_public_key((COSIGN / 'release.pub').read_bytes(), 'release.pub').hint}"
STRANGER = f"key {load_public_key((COSIGN / 'stranger.pub').read_bytes(), 'stranger.pub').hint}"


async def names(attached: Attached) -> list[tuple[str, ...]]:
    """Return the names of each attached manifest."""

    async def read(blob: Descriptor) -> bytes:
        return attached.contents[blob.digest]

    return [
        await claimed_signers(RawManifest.of(attached.contents[one.entry.digest]), read) for one in attached.attachments
    ]


@pytest.mark.parametrize(
    ("case", "expected"),
    [("bundle", RELEASE), ("stranger-bundle", STRANGER), ("legacy", "a key")],
)
async def test_a_key_is_named_by_the_hint_of_its_bundle(case: str, expected: str) -> None:
    """Cosign's older form does not name the key."""
    assert set(await names(made_by_cosign(case)[0])) == {(expected,)}


async def test_what_is_not_signed_has_no_signer() -> None:
    """An SBOM beside a signature."""
    assert set(await names(made_by_cosign("unsigned-sbom")[0])) == {(RELEASE,), ()}


async def test_an_identity_is_named_with_its_issuer() -> None:
    """From the certificate in a bundle, and from that of the older form."""
    bundle = SigstoreInstance().bundle(ROOT)
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, bundle, {})], BUNDLE_TYPE)
    der = json.loads(bundle)["verificationMaterial"]["certificate"]["rawBytes"]
    pem = f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"
    signature = {"dev.cosignproject.cosign/signature": "c2ln", "dev.sigstore.cosign/certificate": pem}
    attached.attach(ROOT, [(PAYLOAD_MEDIA_TYPE, b"{}", signature)], tag="sha256-0.sig")
    assert await names(attached) == [(f"{IDENTITY} ({ISSUER})",)] * 2


def _with_certificate(raw: str) -> bytes:
    bundle = json.loads(SigstoreInstance().bundle(ROOT))
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = raw
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"",
        lambda: b"{}",
        lambda: b"[" * 100_000,
        lambda: _with_certificate("AAAA"),
        lambda: _with_certificate("A" * 200_000),
    ],
    ids=["empty", "no bundle", "deep", "no certificate", "large certificate"],
)
async def test_what_cannot_be_read_is_named_so(content: Callable[[], bytes]) -> None:
    """It is no failure: the tree shows the rest."""
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, content(), {})], BUNDLE_TYPE)
    assert await names(attached) == [("an unreadable signature",)]


async def test_many_and_large_signatures_are_not_all_read() -> None:
    """A hostile manifest has thousands of layers, or bundles of a gigabyte."""
    attached = Attached()
    attached.attach(ROOT, [(BUNDLE_TYPE, b"%d" % number, {}) for number in range(1000)], BUNDLE_TYPE)
    reads = 0

    async def read(blob: Descriptor) -> bytes:
        nonlocal reads
        reads += 1
        return attached.contents[blob.digest]

    manifest = RawManifest.of(attached.contents[attached.attachments[0].entry.digest])
    await claimed_signers(manifest, read)
    assert reads == SIGNERS_LIMIT
    document = {**manifest.document, "layers": [{**manifest.document["layers"][0], "size": 1 << 30}]}
    assert await claimed_signers(RawManifest.of(json.dumps(document).encode()), read) == ()
    assert reads == SIGNERS_LIMIT


@pytest.mark.parametrize("encoded", [b"", b"-----BEGIN CERTIFICATE-----", b"\x30\x82\xff\xff", b"\0" * 1000])
def test_broken_certificates_name_no_one(encoded: bytes) -> None:
    """In either encoding."""
    assert signer_of_certificate(encoded) is None
