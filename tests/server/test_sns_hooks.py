"""Amazon SNS over HTTP: subscriptions confirm themselves, signed messages of configured topics lead to events."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.events.signatures import Basic
from image_syncer.server.server_settings import HookSource, ServerSettings, open_routes
from image_syncer.server.web_backend import BackendUnavailable
from server.serving import Running, basic, event_rule, running
from support.sns_messages import CERTIFICATE_URL, SUBSCRIBE_URL, TOPIC, sns_certificate, sns_message
from unit.events.payloads import ECR

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
PUSH = json.dumps(ECR)
THEIR_TOPIC = "arn:aws:sns:eu-central-1:999999999999:theirs"
ENVELOPED = {"x-amz-sns-message-type": "Notification"}
RAW = ENVELOPED | {"x-amz-sns-rawdelivery": "true"}


@dataclass
class FixedSns:
    """The addresses of SNS: one certificate, and the confirmations that were visited."""

    down: bool = False
    fetched: list[str] = field(default_factory=list[str])
    confirmed: list[str] = field(default_factory=list[str])

    async def certificate(self, url: str) -> bytes:
        """Return the certificate of the test's key."""
        if self.down:
            raise BackendUnavailable("SNS cannot be reached")
        self.fetched.append(url)
        return sns_certificate(valid_days=36500)

    async def confirm(self, url: str) -> None:
        """Note the visit."""
        self.confirmed.append(url)


@dataclass(frozen=True)
class SnsSite:
    """A server with a webhook for SNS alone, and one that wants a login besides."""

    site: Running
    sns: FixedSns

    async def post(self, body: bytes, path: str = "/hooks/sns", headers: dict[str, str] | None = None) -> int:
        """Return the status of a delivery."""
        return await self.site.status("POST", path, data=body, headers=headers or ENVELOPED)


@pytest.fixture
async def sns_site() -> AsyncGenerator[SnsSite]:
    """Serve both webhooks."""
    hooks = {
        "sns": HookSource("ecr", HOST, topics=(TOPIC,)),
        "both": HookSource("ecr", HOST, (Basic("sns", "hunter2"),), topics=(TOPIC,)),
    }
    sns = FixedSns()
    async with running(ServerSettings(hooks=hooks), rules=[event_rule(HOST, "**")], sns=sns) as site:
        yield SnsSite(site, sns)


def signed(kind: str = "Notification", *, sent_at: datetime | None = None, **changes: str) -> bytes:
    """Return a message that SNS signed just now, with a push to ECR inside."""
    stamp = (sent_at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return sns_message(kind, **{"Message": PUSH, "Timestamp": stamp} | changes)


async def test_a_signed_push_is_recorded(sns_site: SnsSite) -> None:
    """The published message is read as an event of ECR."""
    assert await sns_site.post(signed()) == 202
    (event,) = await sns_site.site.events()
    assert (event.repository, event.tag) == (f"{HOST}/team/app", "1.4.2")
    assert sns_site.sns.fetched == [CERTIFICATE_URL]


async def test_a_subscription_confirms_itself_once_its_signature_is_valid(sns_site: SnsSite) -> None:
    """And never for another topic, nor at another address."""
    assert await sns_site.post(signed("SubscriptionConfirmation")) == 200
    assert sns_site.sns.confirmed == [SUBSCRIBE_URL]
    assert await sns_site.post(signed("SubscriptionConfirmation", TopicArn=THEIR_TOPIC)) == 401
    elsewhere = signed("SubscriptionConfirmation", SubscribeURL="https://169.254.169.254/?Action=ConfirmSubscription")
    assert await sns_site.post(elsewhere) == 400
    assert sns_site.sns.confirmed == [SUBSCRIBE_URL]


async def test_a_strange_topic_makes_us_fetch_nothing(sns_site: SnsSite) -> None:
    """Any account can send validly signed messages; none of them may use our network."""
    assert await sns_site.post(signed(TopicArn=THEIR_TOPIC)) == 401
    assert sns_site.sns.fetched == []
    assert await sns_site.site.events() == []


async def test_forged_old_and_malformed_messages_are_refused(sns_site: SnsSite) -> None:
    """None of them leaves an event."""
    assert await sns_site.post(signed(_Message="{}")) == 401
    assert await sns_site.post(signed(sent_at=datetime.now(UTC) - timedelta(hours=2))) == 401
    assert await sns_site.post(b"{}") == 400
    assert await sns_site.site.events() == []


async def test_an_unreachable_sns_means_try_again(sns_site: SnsSite) -> None:
    """SNS repeats a delivery that gets 503, so nothing is lost."""
    sns_site.sns.down = True
    assert await sns_site.post(signed()) == 503


async def test_a_raw_delivery_needs_a_login(sns_site: SnsSite) -> None:
    """It carries no signature: the topic alone proves nothing."""
    assert await sns_site.post(PUSH.encode(), headers=RAW) == 401
    assert await sns_site.post(PUSH.encode(), "/hooks/both", RAW) == 401
    assert await sns_site.post(PUSH.encode(), "/hooks/both", RAW | basic("sns", "hunter2")) == 202
    assert len(await sns_site.site.events()) == 1


async def test_a_login_besides_the_topic_is_required_as_well(sns_site: SnsSite) -> None:
    """The second proof is not an alternative."""
    assert await sns_site.post(signed(), "/hooks/both") == 401
    assert await sns_site.post(signed(), "/hooks/both", ENVELOPED | basic("sns", "hunter2")) == 202


def test_a_hook_with_topics_is_not_open() -> None:
    """It may be served at every address without `allow_open`."""
    sources = {"sns": HookSource("ecr", HOST, topics=(TOPIC,)), "open": HookSource("ecr", HOST)}
    assert open_routes(ServerSettings(logins=(Basic("a", "b"),), hooks=sources)) == ["/hooks/open"]
