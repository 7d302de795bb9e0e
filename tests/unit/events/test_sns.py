"""SNS messages: only a configured topic, a valid signature and SNS's own addresses are accepted."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from image_syncer.events import MalformedNotification
from image_syncer.events.sns import confirmation_address, is_topic, parse_envelope, sns_problem

NOW = datetime(2026, 5, 4, 9, 12, 33, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ecr-pushes"
CERTIFICATE_URL = (
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)
SUBSCRIBE_URL = (
    f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'2336412f37' * 8}"
)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ORDER = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY, *, valid_days: int = 1) -> bytes:
    """Return a self-signed certificate of *key*, valid for *valid_days* around `NOW`."""
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


def message(kind: str = "Notification", version: str = "2", **changes: str) -> bytes:
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
    fields["Signature"] = base64.b64encode(KEY.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
    fields |= {name[1:]: value for name, value in changes.items() if name.startswith("_")}
    return json.dumps(fields).encode()


def problem(
    body: bytes, *, pem: bytes | None = None, topics: tuple[str, ...] = (TOPIC,), late: float = 0.0
) -> str | None:
    """Return what is wrong with *body*, *late* seconds after it was sent."""
    return sns_problem(parse_envelope(body), topics, pem or certificate(), NOW.timestamp() + late)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", ["Notification", "SubscriptionConfirmation"])
def test_a_signed_message_of_a_configured_topic_passes(kind: str, version: str) -> None:
    """Both kinds of messages, with both kinds of signatures, and with and without a subject."""
    assert problem(message(kind, version)) is None
    if kind == "Notification":
        assert problem(message(kind, version, Subject="a push")) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message(_Message="{}"), "the signature is wrong"),
        (message(_Subject="added"), "the signature is wrong"),
        (message("SubscriptionConfirmation", _Token="0" * 64), "the signature is wrong"),
        (message(TopicArn="arn:aws:sns:eu-central-1:999999999999:theirs"), "a topic that is not configured"),
        (message(Timestamp="2026-05-04T08:00:00.000Z"), "older than an hour"),
        (message(Timestamp="2026-05-04T10:00:00.000Z"), "from the future"),
    ],
)
def test_a_forged_message_is_refused(body: bytes, expected: str) -> None:
    """A validly signed message of another account's topic is as bad as an altered one."""
    assert expected in (problem(body) or "passed")


def test_a_certificate_must_be_valid_and_rsa() -> None:
    """An expired certificate, another key, another algorithm and nonsense are refused."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert problem(message(), pem=certificate(other)) == "the signature is wrong"
    assert problem(message(), pem=certificate(valid_days=-1)) == "the signing certificate cannot be used"
    assert problem(message(), pem=certificate(ec.generate_private_key(ec.SECP256R1()))) is not None
    assert problem(message(), pem=b"-----BEGIN nonsense") == "the signing certificate cannot be used"


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.test/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://evil.test/sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://u:p@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-central-1.amazonaws.com/../SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem?x=1",
        "https://sns.eu-central-1.amazonaws.com/anything.pem",
        "https://sns.\u212a.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://[/",
        "",
    ],
)
def test_a_certificate_elsewhere_is_never_fetched(url: str) -> None:
    """The address is checked before it is used: an attacker's certificate would verify an attacker's message."""
    with pytest.raises(MalformedNotification):
        parse_envelope(message(_SigningCertURL=url))


def test_chinese_regions_have_another_domain() -> None:
    """`amazonaws.com.cn` is theirs."""
    url = CERTIFICATE_URL.replace("eu-central-1.amazonaws.com", "cn-north-1.amazonaws.com.cn")
    assert parse_envelope(message(_SigningCertURL=url)).certificate_url == url


def test_a_subscription_is_confirmed_at_sns_only() -> None:
    """The address must confirm the very topic of the message, at SNS's own host."""
    assert confirmation_address(parse_envelope(message("SubscriptionConfirmation"))) == SUBSCRIBE_URL
    for url in (
        SUBSCRIBE_URL.replace("ConfirmSubscription", "DeleteTopic"),
        SUBSCRIBE_URL.replace("123456789012", "999999999999"),
        SUBSCRIBE_URL.replace("https", "http"),
        SUBSCRIBE_URL.replace("sns.eu-central-1", "169.254.169.254#"),
        SUBSCRIBE_URL.replace("/?", "/other?"),
        SUBSCRIBE_URL.replace("Token=", "Token=%0d%0a"),
        "",
    ):
        with pytest.raises(MalformedNotification):
            confirmation_address(parse_envelope(message("SubscriptionConfirmation", SubscribeURL=url)))


@pytest.mark.parametrize(
    "changes",
    [
        {"_Type": "Gossip"},
        {"_SignatureVersion": "3"},
        {"_Signature": "not base64"},
        {"_Timestamp": "yesterday"},
        {"_MessageId": ""},
        {"_TopicArn": ""},
    ],
)
def test_nonsense_is_malformed(changes: dict[str, str]) -> None:
    """What SNS cannot have sent is refused before anything is verified."""
    with pytest.raises(MalformedNotification):
        parse_envelope(message(**changes))


def test_a_topic_is_an_arn() -> None:
    """The configuration is checked with it."""
    assert is_topic(TOPIC)
    assert is_topic("arn:aws-cn:sns:cn-north-1:123456789012:pushes.fifo")
    assert not is_topic("ecr-pushes")
    assert not is_topic("arn:aws:sqs:eu-central-1:123456789012:queue")
