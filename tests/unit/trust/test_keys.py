"""Keys of each kind, and bundles that sign the manifest itself."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from image_syncer.errors import NotTrusted, UsageError
from image_syncer.oci import Digest
from image_syncer.trust.bundle import BUNDLE_TYPE
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.keys import load_private_key, load_public_key
from image_syncer.trust.trust_settings import KeySigner, TrustSettings
from support.signed_images import Attached

CURVES = [(ec.SECP256R1(), hashes.SHA256()), (ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())]


def public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """Return the public half of *key* in PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


@pytest.mark.parametrize(("curve", "usual"), CURVES, ids=lambda one: one.name)
def test_a_curve_signs_with_its_own_hash_or_with_sha256(curve: ec.EllipticCurve, usual: hashes.HashAlgorithm) -> None:
    """As cosign does in its new and its legacy form."""
    key = ec.generate_private_key(curve)
    loaded = load_public_key(public(key), "key")
    for algorithm in (usual, hashes.SHA256()):
        signature = key.sign(b"content", ec.ECDSA(algorithm))
        assert loaded.has_signed(signature, b"content")
        assert not loaded.has_signed(signature, b"contenT")
    assert not loaded.has_signed(key.sign(b"content", ec.ECDSA(hashes.SHA224())), b"content")
    assert not loaded.has_signed(b"", b"content")


def test_other_keys_sign_in_their_way() -> None:
    """RSA with PKCS #1 and SHA-256; Ed25519."""
    key = rsa.generate_private_key(65537, 2048)
    loaded = load_public_key(public(key), "key")
    assert loaded.has_signed(key.sign(b"content", padding.PKCS1v15(), hashes.SHA256()), b"content")
    assert not loaded.has_signed(key.sign(b"content", padding.PKCS1v15(), hashes.SHA1()), b"content")
    edwards = ed25519.Ed25519PrivateKey.generate()
    loaded = load_public_key(public(edwards), "key")
    assert loaded.has_signed(edwards.sign(b"content"), b"content")
    assert not loaded.has_signed(edwards.sign(b"other"), b"content")


def test_a_key_that_is_none_is_refused() -> None:
    """By name, with what to do."""
    weak = rsa.generate_private_key(65537, 1024)
    for pem in (b"", b"x", public(weak), public(ec.generate_private_key(ec.SECP256K1())), b"x" * 100_000):
        with pytest.raises(UsageError, match=r"release\.pub"):
            load_public_key(pem, "release.pub")
    with pytest.raises(UsageError, match="attest"):
        load_private_key(b"", "attest")


async def test_a_bundle_may_sign_the_manifest_itself() -> None:
    """Without a statement: the signature is over the bytes whose digest the image has."""
    manifest = b"the bytes of the manifest"
    root, key = Digest.of(manifest), ec.generate_private_key(ec.SECP256R1())
    gate = TrustGate(TrustSettings((KeySigner(public(key)),)))
    signature = base64.b64encode(key.sign(manifest, ec.ECDSA(hashes.SHA256()))).decode()
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "messageSignature": {"signature": signature},
    }
    for subject, passes in ((root, True), (Digest.of(b"other"), False)):
        attached = Attached()
        attached.attach(subject, [(BUNDLE_TYPE, json.dumps(document).encode(), {})], BUNDLE_TYPE)
        if passes:
            await gate.check(attached.image(subject))
        else:
            with pytest.raises(NotTrusted, match="signed by another key"):
                await gate.check(attached.image(subject))
