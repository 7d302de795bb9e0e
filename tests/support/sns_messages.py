"""Messages as Amazon SNS signs them, with a key and a certificate of our own."""

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 5, 4, 9, 12, 33, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ecr-pushes"
CERTIFICATE_URL = (
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)
SUBSCRIBE_URL = (
    f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'2336412f37' * 8}"
)
ORDER = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@cache
def signing_key() -> rsa.RSAPrivateKey:
    """Return the key that signs all messages."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sns_certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None, *, valid_days: int = 1) -> bytes:
    """Return a self-signed certificate of *key*, by default `signing_key`.

    It is valid from ten days before `NOW` to *valid_days* after it.
    """
    key = key or signing_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=10))
        .not_valid_after(NOW + timedelta(days=valid_days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def sns_message(kind: str = "Notification", version: str = "2", **changes: str) -> bytes:
    """Return a body that SNS could send, signed before *changes* with a leading underscore apply."""
    fields = {
        "Type": kind,
        "MessageId": "da41e39f-ea4d-435a-b922-c6aae3915ebe",
        "TopicArn": TOPIC,
        "Message": '{"detail-type": "ECR Image Action"}',
        "Timestamp": "2026-05-04T09:12:33.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    }
    if kind != "Notification":
        fields |= {"SubscribeURL": SUBSCRIBE_URL, "Token": "2336412f37" * 8}
    fields |= {name: value for name, value in changes.items() if not name.startswith("_")}
    text = "".join(f"{name}\n{fields[name]}\n" for name in ORDER[kind] if name in fields)
    algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
    fields["Signature"] = base64.b64encode(signing_key().sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
    fields |= {name[1:]: value for name, value in changes.items() if name.startswith("_")}
    return json.dumps(fields).encode()
