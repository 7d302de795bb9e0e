"""Amazon SNS over HTTPS: the envelope, its signature, and the addresses that it may lead to. Pure.

docs.aws.amazon.com/sns, "Parsing Amazon SNS message formats" and "Verifying the signatures of Amazon SNS messages".
Any AWS account can send a validly signed message to any endpoint, so the topic must be one of the configured ones.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from image_syncer.events.notification import MalformedNotification, quoted
from image_syncer.events.payload import parse_base64, parse_object, required_text, text_at

TYPE_HEADER: Final = "x-amz-sns-message-type"
RAW_HEADER: Final = "x-amz-sns-rawdelivery"
CERTIFICATE_LIMIT: Final = 64 * 1024
"""A signing certificate has at most this many bytes."""

_HOST: Final = re.compile(r"sns\.(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2})\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[0-9a-f]{16,64}\.pem")
_TOKEN: Final = re.compile(r"[0-9a-f]{32,512}")
_TEXT_LIMIT: Final = 2048
_AGE_SECONDS: Final = 3600.0
_LEEWAY_SECONDS: Final = 300.0

_NOTIFICATION: Final = "Notification"
_CONFIRMATIONS: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
_SIGNED_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_HASHES: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {"1": hashes.SHA1, "2": hashes.SHA256}


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """One envelope. *content* is the published message; *subscribe_url* is empty unless a confirmation is asked for."""

    type: str
    identity: str
    topic: str
    content: str = field(repr=False)
    certificate_url: str
    subscribe_url: str = field(repr=False)
    sent_at: datetime
    signature: bytes = field(repr=False)
    version: str
    signed_text: bytes = field(repr=False)

    @property
    def is_notification(self) -> bool:
        """Whether it carries a published message."""
        return self.type == _NOTIFICATION

    @property
    def asks_for_confirmation(self) -> bool:
        """Whether the subscription is new: it stays silent until *subscribe_url* is visited."""
        return self.type == "SubscriptionConfirmation"


def parse_envelope(body: bytes) -> SnsMessage:
    """Return the unverified envelope in *body*; `MalformedNotification` if SNS cannot have sent it."""
    value = parse_object(body)
    kind = required_text(value, "Type")
    if kind != _NOTIFICATION and kind not in _CONFIRMATIONS:
        raise MalformedNotification(f"Type {quoted(kind)} is no type of SNS message")
    version = required_text(value, "SignatureVersion")
    if version not in _HASHES:
        raise MalformedNotification(f"SignatureVersion {quoted(version)} is not known")
    return SnsMessage(
        type=kind,
        identity=required_text(value, "MessageId"),
        topic=required_text(value, "TopicArn"),
        content=text_at(value, "Message"),
        certificate_url=_certificate_url(required_text(value, "SigningCertURL")),
        subscribe_url=text_at(value, "SubscribeURL"),
        sent_at=_instant(required_text(value, "Timestamp")),
        signature=parse_base64(required_text(value, "Signature")),
        version=version,
        signed_text=_signed_text(value, _SIGNED_NOTIFICATION if kind == _NOTIFICATION else _SIGNED_CONFIRMATION),
    )


def sns_problem(message: SnsMessage, topics: Collection[str], certificate: bytes, now: float) -> str | None:
    """Return the first rule that *message* breaks at *now* (seconds since the epoch), None if it breaks none.

    *certificate* is the PEM that `certificate_url` names; it is trusted because it came from there over verified TLS.
    """
    if message.topic not in topics:
        return "the message is from a topic that is not configured"
    age = now - message.sent_at.timestamp()
    if age > _AGE_SECONDS or age < -_LEEWAY_SECONDS:
        return "the message is older than an hour, or from the future"
    try:
        key = _public_key(certificate, now)
        # Version 1 signs with SHA-1, version 2 with SHA-256: an attribute of the topic.
        key.verify(message.signature, message.signed_text, padding.PKCS1v15(), _HASHES[message.version]())
    except InvalidSignature:
        return "the signature is wrong"
    except ValueError:
        return "the signing certificate cannot be used"
    return None


def confirmation_address(message: SnsMessage) -> str:
    """Return the address that confirms the subscription.

    `MalformedNotification` unless it is an address of SNS for the message's topic.
    """
    parts = _sns_url(message.subscribe_url)
    query = parse_qs(parts.query, max_num_fields=8)
    wanted = query.get("Action") == ["ConfirmSubscription"] and query.get("TopicArn") == [message.topic]
    token = query.get("Token", [""])
    if parts.path != "/" or not wanted or len(token) != 1 or not _TOKEN.fullmatch(token[0]):
        raise MalformedNotification("SubscribeURL does not confirm a subscription to the message's topic")
    return message.subscribe_url


def _certificate_url(url: str) -> str:
    parts = _sns_url(url)
    if not _CERTIFICATE_PATH.fullmatch(parts.path) or parts.query:
        raise MalformedNotification("SigningCertURL is not a certificate of SNS")
    return url


def _sns_url(url: str) -> SplitResult:
    """Return the parts of *url*; `MalformedNotification` unless it is https and the host a regional one of SNS."""
    try:
        parts = urlsplit(url if len(url) <= _TEXT_LIMIT and url.isascii() and url.isprintable() else "")
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or _HOST.fullmatch(parts.netloc) is None or parts.fragment:
        raise MalformedNotification("an address in the message is not at sns.<region>.amazonaws.com")
    return parts


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedNotification("Timestamp is not a time") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _signed_text(value: object, names: tuple[str, ...]) -> bytes:
    """Return the text that SNS signs: each name and value on a line of its own, names in order; no absent Subject."""
    lines: list[str] = []
    for name in names:
        text = text_at(value, name)
        if text or name != "Subject":
            lines += (name, text)
    return "".join(f"{line}\n" for line in lines).encode()


def _public_key(certificate: bytes, now: float) -> rsa.RSAPublicKey:
    parsed = x509.load_pem_x509_certificate(certificate)
    if not parsed.not_valid_before_utc.timestamp() <= now <= parsed.not_valid_after_utc.timestamp():
        raise ValueError("outside of its validity")
    key = parsed.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("no RSA key")  # noqa: TRY004 - told like every certificate of no use
    return key
