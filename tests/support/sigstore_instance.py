"""A Sigstore instance for tests: a certificate authority, its certificate log and a transparency log with one entry."""

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from image_syncer.oci import Digest
from image_syncer.trust.bundle import BUNDLE_TYPE
from image_syncer.trust.dsse import PAYLOAD_TYPE, STATEMENT_TYPE, pae
from image_syncer.trust.facts import SIGN_PREDICATE

ISSUER: Final = "https://token.actions.githubusercontent.com"
IDENTITY: Final = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1"
SIGNED_AT: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
"""Long ago, so that the certificate has expired."""

_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCT_LIST: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_LIFE: Final = timedelta(minutes=10)
_ORIGIN: Final = "log.example - 1"


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class SigstoreInstance:
    """Signs without keys that last: each signature has a new key and a certificate for ten minutes."""

    def __init__(self) -> None:
        self._authority_key, self._certificate_log, self.log = _new_key(), _new_key(), _new_key()
        self._authority = self._self_signed()

    @property
    def trusted_root(self) -> bytes:
        """The trusted root with the authority and both logs."""
        valid = {"start": "2025-01-01T00:00:00Z"}
        authority = {
            "subject": {"organization": "example", "commonName": "authority"},
            "uri": "https://authority.example",
            "certChain": {
                "certificates": [{"rawBytes": _b64(self._authority.public_bytes(serialization.Encoding.DER))}]
            },
            "validFor": valid,
        }
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log("https://log.example", self.log, valid)],
            "certificateAuthorities": [authority],
            "ctlogs": [_log("https://ct.example", self._certificate_log, valid)],
        }
        return json.dumps(document).encode()

    def bundle(  # noqa: PLR0913 - each is something that a signature may have wrong
        self,
        subject: Digest,
        *,
        identity: str = IDENTITY,
        issuer: str = ISSUER,
        logged_at: datetime = SIGNED_AT,
        log: ec.EllipticCurvePrivateKey | None = None,
        predicate_type: str = SIGN_PREDICATE,
        predicate: object = None,
    ) -> bytes:
        """Return a bundle with a statement about *subject*, whose certificate is valid from `SIGNED_AT` on."""
        key = _new_key()
        certificate = self._issue(key, identity, issuer)
        statement: dict[str, Any] = {
            "_type": STATEMENT_TYPE,
            "subject": [{"digest": {subject.algorithm: subject.encoded}}],
            "predicateType": predicate_type,
            "predicate": predicate or {},
        }
        payload = json.dumps(statement).encode()
        signature = _sign(key, pae(PAYLOAD_TYPE, payload))
        document = {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(certificate.public_bytes(serialization.Encoding.DER))},
                "tlogEntries": [self._entry(log or self.log, payload, signature, certificate, logged_at)],
            },
            "dsseEnvelope": {
                "payload": _b64(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _b64(signature)}],
            },
        }
        return json.dumps(document).encode()

    def _self_signed(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        public = self._authority_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(1)
            .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._authority_key, hashes.SHA256())
        )

    def _issue(self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str) -> x509.Certificate:
        """Return a certificate as Fulcio issues it, with the receipt of the certificate log in it."""
        text = issuer.encode()
        name = x509.RFC822Name(identity) if "://" not in identity else x509.UniformResourceIdentifier(identity)
        public = self._authority_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(SIGNED_AT)
            .not_valid_after(SIGNED_AT + _LIFE)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, bytes((0x0C, len(text))) + text), critical=False)
        )
        unlogged = builder.sign(self._authority_key, hashes.SHA256())
        receipt = x509.UnrecognizedExtension(_SCT_LIST, self._receipt(unlogged))
        return builder.add_extension(receipt, critical=False).sign(self._authority_key, hashes.SHA256())

    def _receipt(self, certificate: x509.Certificate) -> bytes:
        """Return the list with one signed certificate timestamp (RFC 6962, section 3.3)."""
        body = certificate.tbs_certificate_bytes
        time = struct.pack("!Q", int(SIGNED_AT.timestamp() * 1000))
        entry = hashlib.sha256(_der(self._authority_key)).digest() + len(body).to_bytes(3, "big") + body
        signature = _sign(self._certificate_log, b"\0\0" + time + b"\0\1" + entry + b"\0\0")
        hashed = hashlib.sha256(_der(self._certificate_log)).digest()
        receipt = b"\0" + hashed + time + b"\0\0" + b"\4\3" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(receipt) + 2, len(receipt)) + receipt
        return bytes((0x04, len(listed))) + listed if len(listed) < 128 else bytes((0x04, 0x81, len(listed))) + listed

    def _entry(
        self,
        log: ec.EllipticCurvePrivateKey,
        payload: bytes,
        signature: bytes,
        certificate: x509.Certificate,
        logged_at: datetime,
    ) -> dict[str, Any]:
        """Return the entry of the transparency log: the only one of a log of size 1."""
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        body = _canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                    "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                    "signatures": [{"signature": _b64(signature), "verifier": _b64(pem)}],
                },
            }
        )
        log_id = hashlib.sha256(_der(log)).digest()
        root = hashlib.sha256(b"\0" + body).digest()
        seconds = int(logged_at.timestamp())
        promise = {"body": _b64(body), "integratedTime": seconds, "logID": log_id.hex(), "logIndex": 0}
        note = f"{_ORIGIN}\n1\n{_b64(root)}\n"
        checkpoint = f"{note}\n\N{EM DASH} log.example {_b64(log_id[:4] + _sign(log, note.encode()))}\n"
        return {
            "logIndex": "0",
            "logId": {"keyId": _b64(log_id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": _b64(_sign(log, _canonical(promise)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _b64(body),
        }


def _log(url: str, key: ec.EllipticCurvePrivateKey, valid: dict[str, str]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": _b64(_der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
        "logId": {"keyId": _b64(hashlib.sha256(_der(key)).digest())},
    }


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def _sign(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
