"""Public keys that verify signatures, and private keys that make them: ECDSA on P-256, P-384, P-521, RSA, Ed25519."""

import base64
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from image_syncer.errors import UsageError
from image_syncer.oci import Digest
from image_syncer.trust.trust_settings import KEY_LIMIT_BYTES

_RSA_LEAST_BITS: Final = 2048
_RSA_MOST_BITS: Final = 8192  # A verification with a larger key takes too long.
_SUPPORTED: Final = "ECDSA on P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or Ed25519"

# The hash that a signature of each curve is made with. cosign's legacy form always takes SHA-256, so that counts too.
_CURVE_HASHES: Final = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}

_AnyPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
_AnyPrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class PublicKey:
    """Verifies signatures of one key."""

    def __init__(self, key: _AnyPublicKey) -> None:
        self._key: _AnyPublicKey = key
        encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.hint = base64.b64encode(hashlib.sha256(encoded).digest()).decode()
        """Identifies the key, as the hint in a Sigstore bundle does."""

    def has_signed(self, signature: bytes, content: bytes) -> bool:
        """Whether *signature* is one of this key over *content*."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            try:
                self._key.verify(signature, content)
            except InvalidSignature:
                return False
            return True
        return any(
            self._has_signed_hash(signature, _hashed(content, algorithm), algorithm) for algorithm in self._algorithms()
        )

    def has_signed_digest(self, signature: bytes, digest: Digest) -> bool:
        """Whether *signature* is one of this key over content with *digest*; False for Ed25519, which needs that."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            return False
        hashed = bytes.fromhex(digest.encoded)
        return any(
            self._has_signed_hash(signature, hashed, algorithm)
            for algorithm in self._algorithms()
            if algorithm.name == digest.algorithm
        )

    def _algorithms(self) -> tuple[hashes.HashAlgorithm, ...]:
        if isinstance(self._key, ec.EllipticCurvePublicKey):
            usual = _CURVE_HASHES[self._key.curve.name]
            return (usual,) if usual.name == "sha256" else (usual, hashes.SHA256())
        return (hashes.SHA256(),)

    def _has_signed_hash(self, signature: bytes, hashed: bytes, algorithm: hashes.HashAlgorithm) -> bool:
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, hashed, ec.ECDSA(Prehashed(algorithm)))
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, hashed, padding.PKCS1v15(), Prehashed(algorithm))
            else:
                return False
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """Signs content."""

    def __init__(self, key: _AnyPrivateKey) -> None:
        self._key: _AnyPrivateKey = key
        self.public = PublicKey(key.public_key())

    def sign(self, content: bytes) -> bytes:
        """Return a signature over *content*, as `PublicKey.has_signed` verifies it."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(content)
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(content, ec.ECDSA(_CURVE_HASHES[self._key.curve.name]))


def load_public_key(pem: bytes, what: str) -> PublicKey:
    """Return the public key in *pem*; `UsageError` that names *what*."""
    _check_size(pem, what)
    if b"PRIVATE KEY-----" in pem:
        raise UsageError(f"{what}: a private key", remedy="give the public key; keep the private one to yourself")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{what}: not a public key in PEM", remedy="cosign writes one to cosign.pub (-----BEGIN PUBLIC KEY-----)"
        ) from None
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) and _is_supported(key):
        return PublicKey(key)
    raise UsageError(f"{what}: a key of an unsupported kind", remedy=f"supported: {_SUPPORTED}")


def load_private_key(pem: bytes, what: str) -> PrivateKey:
    """Return the unencrypted private key in *pem*; `UsageError` that names *what*."""
    _check_size(pem, what)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        encrypted = " an encrypted key" if b"ENCRYPTED" in pem else " not a private key in PEM"
        raise UsageError(
            f"{what}:{encrypted}",
            remedy="make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        ) from None
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) and _is_supported(
        key.public_key()
    ):
        return PrivateKey(key)
    raise UsageError(f"{what}: a key of an unsupported kind", remedy=f"supported: {_SUPPORTED}")


def _is_supported(key: _AnyPublicKey) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in _CURVE_HASHES
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_LEAST_BITS <= key.key_size <= _RSA_MOST_BITS
    return True


def _check_size(pem: bytes, what: str) -> None:
    if len(pem) > KEY_LIMIT_BYTES:
        raise UsageError(f"{what}: larger than {KEY_LIMIT_BYTES // 1024} KiB, so not a key")


def _hashed(content: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    return hashlib.new(algorithm.name, content).digest()
