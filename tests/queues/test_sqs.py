"""Amazon SQS as botocore speaks it: a message is deleted once its event is durable, and never before."""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from image_syncer.config.model import QueueSettings
from queues.consuming import EventStore, consuming, has, logged_as, until
from support.fake_sqs import FakeSqs, fake_sqs

QUEUE = "pushes"


@pytest.fixture
async def sqs(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FakeSqs]:
    """A fake SQS with one empty queue, and credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    async with fake_sqs() as fake:
        fake.queues[QUEUE] = []
        yield fake


def settings(sqs: FakeSqs, queue: str = QUEUE, *, poison: str = "reject") -> QueueSettings:
    """Return the settings of a queue at *sqs*."""
    assert poison in {"reject", "drop"}
    url = f"sqs://eu-central-1?endpoint={sqs.url}"
    return QueueSettings("aws", "sqs", (url,), queue, poison="reject" if poison == "reject" else "drop")


def plain(tag: str) -> str:
    """Return a message of the plain form."""
    return json.dumps({"Name": "registry.example.com/team/app", "Tag": tag})


def ecr_push(tag: str) -> str:
    """Return what EventBridge sends for a push to ECR."""
    detail = {"result": "SUCCESS", "repository-name": "team/app", "action-type": "PUSH", "image-tag": tag}
    event = {"detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012", "id": f"id-{tag}"}
    return json.dumps(event | {"region": "eu-central-1", "detail": detail})


async def test_pushes_are_recorded_and_then_deleted(sqs: FakeSqs, store: EventStore) -> None:
    """EventBridge events, bare or through SNS, and plain messages."""
    sqs.send(QUEUE, plain("plain"))
    sqs.send(QUEUE, ecr_push("bare"))
    topic = "arn:aws:sns:eu-central-1:123456789012:pushes"
    sqs.send(QUEUE, json.dumps({"Type": "Notification", "TopicArn": topic, "Message": ecr_push("wrapped")}))
    async with consuming(settings(sqs), store.sink):
        await until(lambda: has(store, 3))
        await until(_empty(sqs, QUEUE))
    assert sorted(await store.tags()) == ["bare", "plain", "wrapped"]
    registries = {event.repository.partition("/")[0] for event in await store.state.events.list_pending(10)}
    assert registries == {"registry.example.com", "123456789012.dkr.ecr.eu-central-1.amazonaws.com"}


async def test_a_message_stays_while_the_state_cannot_be_written(sqs: FakeSqs, store: EventStore) -> None:
    """Not deleted before its event is durable, whatever happens to us."""
    sqs.send(QUEUE, plain("v1"))
    async with consuming(settings(sqs), store.sink) as logged:
        with store.locked():
            await logged_as(logged, "queue.message_postponed")
            assert "DeleteMessage" not in sqs.calls
            assert sqs.queues[QUEUE][0].visible_at > time.monotonic() + 200  # No other consumer gets it meanwhile.
        await until(lambda: has(store, 1))
        await until(_empty(sqs, QUEUE))


async def test_poison_goes_to_the_dead_letter_queue(sqs: FakeSqs, store: EventStore) -> None:
    """The one that the queue's redrive policy names; without one it is dropped, with a log line."""
    sqs.queues["dead"] = []
    sqs.redrive[QUEUE] = "dead"
    sqs.send(QUEUE, "not JSON")
    sqs.send(QUEUE, plain("good"))
    async with consuming(settings(sqs), store.sink) as logged:
        await until(_empty(sqs, QUEUE))
        await logged_as(logged, "queue.message_refused")
        await until(lambda: has(store, 1))
    assert [message.body for message in sqs.queues["dead"]] == ["not JSON"]


async def test_other_events_of_ecr_are_no_poison(sqs: FakeSqs, store: EventStore) -> None:
    """A queue gets what its rule of EventBridge matches; a scan is acknowledged and forgotten."""
    sqs.queues["dead"] = []
    sqs.redrive[QUEUE] = "dead"
    sqs.send(QUEUE, ecr_push("v1").replace("ECR Image Action", "ECR Image Scan"))
    async with consuming(settings(sqs), store.sink) as logged:
        await logged_as(logged, "queue.message_unwanted")
        await until(_empty(sqs, QUEUE))
    assert sqs.queues["dead"] == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("AccessDeniedException", "the login may not read the queue"),
        ("InvalidClientTokenId", "login refused"),
        ("QueueDoesNotExist", "the queue does not exist; image-syncer never creates one"),
        ("Weather", "SQS answered Weather"),
    ],
)
async def test_a_refusal_is_reported_and_retried(sqs: FakeSqs, store: EventStore, code: str, reason: str) -> None:
    """The daemon keeps trying, and the log says why, without the address."""
    sqs.refuse = code
    async with consuming(settings(sqs), store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
        sqs.refuse = None
        sqs.send(QUEUE, plain("later"))
        await until(lambda: has(store, 1))
    first = next(entry for entry in logged if entry["event"] == "queue.unreachable")
    assert (first["error"], "127.0.0.1" in str(first)) == (reason, False)


async def test_missing_credentials_are_named(sqs: FakeSqs, store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place where botocore looks is named in one line."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    async with consuming(settings(sqs), store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
    assert "no AWS credentials were found" in next(e["error"] for e in logged if e["event"] == "queue.unreachable")


def _empty(sqs: FakeSqs, name: str) -> Callable[[], Awaitable[bool]]:
    async def is_empty() -> bool:
        return not sqs.queues[name]

    return is_empty
