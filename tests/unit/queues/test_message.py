"""What a message of a queue comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.events.notification import push_event
from image_syncer.queues.message import MessageRefused, read_message


@pytest.mark.parametrize(
    ("body", "registry", "path"),
    [
        (b'{"Name": "registry.example.com/team/app", "Tag": "1.4.2"}', "registry.example.com", "team/app"),
        (b'{"NAME": "hub/team/a/b/c", "tag": "1.4.2", "more": [1]}', "hub", "team/a/b/c"),
        (b'\xef\xbb\xbf{"name": "localhost:5000/app", "Tag": "1.4.2"}', "localhost:5000", "app"),
    ],
)
def test_a_message_names_registry_repository_and_tag(body: bytes, registry: str, path: str) -> None:
    """The fork's keys in any case; what stands first is the registry, with or without a dot."""
    assert read_message(body) == push_event(registry, path, "1.4.2")


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
def test_what_is_no_push_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """Such a message is poison, for the dead-letter exchange."""
    assert read_message(body) == MessageRefused(reason)


@pytest.mark.parametrize("tag", ["1.0-SNAPSHOT", "snapshot-7"])
def test_a_snapshot_is_unwanted_and_no_poison(tag: str) -> None:
    """Nothing is wrong with it."""
    refusal = read_message(f'{{"Name": "r.io/app", "Tag": "{tag}"}}'.encode())
    assert refusal == MessageRefused(f"{tag!r} is a snapshot", unwanted=True)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(body: bytes) -> None:
    """Whatever somebody publishes, the answer is an event or a short printable reason."""
    match read_message(body):
        case MessageRefused(reason):
            assert 0 < len(reason) < 600
            assert reason.isprintable()
        case event:
            assert event.tag
