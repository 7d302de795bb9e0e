"""Google Pub/Sub as its own client speaks it: a message is acknowledged once its event is durable."""

import json
from collections.abc import AsyncGenerator

import grpc
import pytest

from image_syncer.config.model import QueueSettings
from queues.consuming import EventStore, consuming, has, logged_as, until
from support.fake_pubsub import FakePubsub, fake_pubsub

SETTINGS = QueueSettings("google", "pubsub", ("pubsub://mirror",), "gcr")


@pytest.fixture
async def pubsub(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FakePubsub]:
    """A fake Pub/Sub with one empty subscription, found as an emulator is."""
    async with fake_pubsub() as fake:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake.address)
        yield fake


def inserted(tag: str, action: str = "INSERT") -> bytes:
    """Return what Artifact Registry publishes to the topic `gcr`."""
    name = "europe-docker.pkg.dev/p/r/app"
    return json.dumps({"action": action, "digest": f"{name}@sha256:{'3f' * 32}", "tag": f"{name}:{tag}"}).encode()


async def test_pushes_are_recorded_and_then_acknowledged(pubsub: FakePubsub, store: EventStore) -> None:
    """What Artifact Registry publishes, and plain messages; the registry is the one that the message names."""
    pubsub.waiting += [inserted("v1"), b'{"Name": "registry.example.com/team/app", "Tag": "plain"}']
    async with consuming(SETTINGS, store.sink):
        await until(lambda: has(store, 2))
        await until(lambda: _settled(pubsub))
    events = await store.state.events.list_pending(10)
    assert {f"{event.repository}:{event.tag}" for event in events} == {
        "europe-docker.pkg.dev/p/r/app:v1",
        "registry.example.com/team/app:plain",
    }
    assert 300 in pubsub.deadlines  # The lease outlasts our own retries.


async def test_a_message_stays_while_the_state_cannot_be_written(pubsub: FakePubsub, store: EventStore) -> None:
    """Not acknowledged before its event is durable."""
    pubsub.waiting.append(inserted("v1"))
    async with consuming(SETTINGS, store.sink) as logged:
        with store.locked():
            await logged_as(logged, "queue.message_postponed")
            assert len(pubsub.leased) == 1
        await until(lambda: has(store, 1))
        await until(lambda: _settled(pubsub))


async def test_a_deletion_is_unwanted_and_nonsense_is_refused(pubsub: FakePubsub, store: EventStore) -> None:
    """Both are acknowledged, so that they do not come back for days."""
    pubsub.waiting += [inserted("old", "DELETE"), b"nonsense"]
    async with consuming(SETTINGS, store.sink) as logged:
        await logged_as(logged, "queue.message_unwanted")
        await logged_as(logged, "queue.message_refused")
        await until(lambda: _settled(pubsub))
    assert await store.tags() == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "the login may not read the subscription"),
        (grpc.StatusCode.UNAUTHENTICATED, "login refused"),
        (grpc.StatusCode.UNAVAILABLE, "not available"),
    ],
)
async def test_a_refusal_is_reported_and_retried(
    pubsub: FakePubsub, store: EventStore, code: grpc.StatusCode, reason: str
) -> None:
    """The daemon keeps trying, and the log says why."""
    pubsub.refuse = code
    async with consuming(SETTINGS, store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
        pubsub.refuse = None
        pubsub.waiting.append(inserted("later"))
        await until(lambda: has(store, 1))
    assert next(entry["error"] for entry in logged if entry["event"] == "queue.unreachable") == reason


async def test_a_missing_subscription_is_named(pubsub: FakePubsub, store: EventStore) -> None:
    """We never create one."""
    missing = QueueSettings("google", "pubsub", ("pubsub://mirror",), "other")
    async with consuming(missing, store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
    error = next(entry["error"] for entry in logged if entry["event"] == "queue.unreachable")
    assert error == "the subscription does not exist; image-syncer never creates one"
    assert pubsub.leased == {}


async def _settled(pubsub: FakePubsub) -> bool:
    return not pubsub.waiting and not pubsub.leased
