"""The extra `queues`, and the messages of a queue as events."""

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.config.model import QueueKind, QueueSettings
from image_syncer.errors import UsageError
from image_syncer.events.notification import push_event
from image_syncer.queues import check_installed
from image_syncer.queues.consumer import MessageRefused, read_message
from image_syncer.structs import replace

QUEUE = QueueSettings("q", "rabbitmq", ("amqp://u:hunter2@h/",), "images", origin="sync.yaml:7")


def test_a_queue_without_the_extra_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the queue's line and the command to run, and nothing of the address."""
    monkeypatch.setitem(sys.modules, "aio_pika", None)  # As if it were not installed.
    with pytest.raises(UsageError) as error:
        check_installed([QUEUE])
    assert error.value.message == "sync.yaml:7: a queue of rabbitmq needs aio_pika, which is not installed"
    assert "pip install '.[queues]'" in (error.value.remedy or "")


def test_the_extra_is_optional_without_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """No queue needs no library."""
    monkeypatch.setitem(sys.modules, "aio_pika", None)
    check_installed([])


def test_the_extra_is_installed_for_the_tests() -> None:
    """Otherwise the tests of queues would prove nothing."""
    check_installed([replace(QUEUE, kind=kind) for kind in get_args(QueueKind)])


def test_the_daemon_starts_without_importing_a_brokers_library() -> None:
    """Only opening a queue imports one."""
    code = "import sys, image_syncer.daemon.serve; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.splitlines()}
    assert "image_syncer" in names
    assert names.isdisjoint({"aio_pika", "aiormq", "pamqp", "aiokafka", "nats", "redis"})


@pytest.mark.parametrize(
    ("body", "registry", "path"),
    [
        (b'{"Name": "registry.example.com/team/app", "Tag": "1.4.2"}', "registry.example.com", "team/app"),
        (b'{"NAME": "hub/team/a/b/c", "tag": "1.4.2", "more": [1]}', "hub", "team/a/b/c"),
        (b'\xef\xbb\xbf{"name": "localhost:5000/app", "Tag": "1.4.2"}', "localhost:5000", "app"),
    ],
)
def test_a_message_names_registry_repository_and_tag(body: bytes, registry: str, path: str) -> None:
    """Keys in any case, as in the fork; the first part of the name is the registry, with or without a dot."""
    assert read_message("rabbitmq", body) == (push_event(registry, path, "1.4.2"),)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no name"),
        (b"\xff", "not JSON: the text is not UTF-8"),
        (b"Name=r.io/app&Tag=1", "not JSON: Expecting value at character 0"),
        (b"[1]", "the body is not an object"),
        (b'{"Name": {}, "Tag": "1"}', "name is not a text"),
        (b'{"Name": "r.io/app", "Tag": ""}', "no tag"),
        (b'{"Name": "app", "Tag": "1"}', "'app' is not host/namespace/repository"),
        (b'{"Name": "r.io/app", "Tag": "a\\nb"}', "'a\\nb' is not a tag"),
        (b"[" * 1000, "nested deeper than 32 levels"),
        (b" " * 2**21, "a body of 2097152 bytes; at most 1048576 are read"),
    ],
)
def test_a_message_without_a_push_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """Such a message is poison, and goes to the dead-letter exchange."""
    assert read_message("rabbitmq", body) == MessageRefused(reason)


@pytest.mark.parametrize("tag", ["1.0-SNAPSHOT", "snapshot-7"])
def test_a_snapshot_is_unwanted_but_not_poison(tag: str) -> None:
    """The message is well-formed."""
    refusal = read_message("rabbitmq", f'{{"Name": "r.io/app", "Tag": "{tag}"}}'.encode())
    assert refusal == MessageRefused(f"{tag!r} is a snapshot", unwanted=True)


@given(st.sampled_from(["rabbitmq", "sqs", "pubsub"]), st.binary(max_size=200))
def test_any_bytes_yield_an_event_or_a_short_reason(kind: QueueKind, body: bytes) -> None:
    """Any producer can publish anything; the reason is printable."""
    match read_message(kind, body):
        case MessageRefused(reason):
            assert 0 < len(reason) < 600
            assert reason.isprintable()
        case events:
            assert all(event.tag for event in events)
