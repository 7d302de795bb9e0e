"""SNS messages: only a configured topic, a valid signature and SNS's own addresses are accepted."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from image_syncer.events import MalformedNotification
from image_syncer.events.sns import confirmation_address, parse_envelope, sns_problem
from support.sns_messages import CERTIFICATE_URL, NOW, SUBSCRIBE_URL, TOPIC, sns_certificate, sns_message


def problem(
    body: bytes, *, pem: bytes | None = None, topics: tuple[str, ...] = (TOPIC,), late: float = 0.0
) -> str | None:
    """Return what is wrong with *body*, *late* seconds after it was sent."""
    return sns_problem(parse_envelope(body), topics, pem or sns_certificate(), NOW.timestamp() + late)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", ["Notification", "SubscriptionConfirmation"])
def test_a_signed_message_of_a_configured_topic_passes(kind: str, version: str) -> None:
    """Both kinds of messages, with both kinds of signatures, and with and without a subject."""
    assert problem(sns_message(kind, version)) is None
    if kind == "Notification":
        assert problem(sns_message(kind, version, Subject="a push")) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (sns_message(_Message="{}"), "the signature is wrong"),
        (sns_message(_Subject="added"), "the signature is wrong"),
        (sns_message("SubscriptionConfirmation", _Token="0" * 64), "the signature is wrong"),
        (sns_message(TopicArn="arn:aws:sns:eu-central-1:999999999999:theirs"), "a topic that is not configured"),
        (sns_message(Timestamp="2026-05-04T08:00:00.000Z"), "older than an hour"),
        (sns_message(Timestamp="2026-05-04T10:00:00.000Z"), "from the future"),
    ],
)
def test_a_forged_message_is_refused(body: bytes, expected: str) -> None:
    """A validly signed message of another account's topic is as bad as an altered one."""
    assert expected in (problem(body) or "passed")


def test_a_certificate_must_be_valid_and_rsa() -> None:
    """An expired certificate, another key, another algorithm and nonsense are refused."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert problem(sns_message(), pem=sns_certificate(other)) == "the signature is wrong"
    assert problem(sns_message(), pem=sns_certificate(valid_days=-1)) == "the signing certificate cannot be used"
    assert problem(sns_message(), pem=sns_certificate(ec.generate_private_key(ec.SECP256R1()))) is not None
    assert problem(sns_message(), pem=b"-----BEGIN nonsense") == "the signing certificate cannot be used"


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
        parse_envelope(sns_message(_SigningCertURL=url))


def test_chinese_regions_have_another_domain() -> None:
    """`amazonaws.com.cn` is theirs."""
    url = CERTIFICATE_URL.replace("eu-central-1.amazonaws.com", "cn-north-1.amazonaws.com.cn")
    assert parse_envelope(sns_message(_SigningCertURL=url)).certificate_url == url


def test_a_subscription_is_confirmed_at_sns_only() -> None:
    """The address must confirm the very topic of the message, at SNS's own host."""
    assert confirmation_address(parse_envelope(sns_message("SubscriptionConfirmation"))) == SUBSCRIBE_URL
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
            confirmation_address(parse_envelope(sns_message("SubscriptionConfirmation", SubscribeURL=url)))


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
        parse_envelope(sns_message(**changes))
