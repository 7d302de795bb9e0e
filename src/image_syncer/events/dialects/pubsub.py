"""Google Artifact Registry and Container Registry, through a push subscription of Pub/Sub to the topic `gcr`.

Pub/Sub resends unacknowledged messages until their retention ends. So invalid content in a valid envelope is ignored
with its reason, and only a body that Pub/Sub cannot have sent is refused.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from image_syncer.events.notification import MalformedNotification, Notification, PushEvent, gather, push_event, quoted
from image_syncer.events.payload import as_object, at, parse_base64, parse_object, text_at
from image_syncer.oci.reference import split_reference

_MESSAGE_ID: Final = "x-goog-pubsub-message-id"
"""The message's id, if the subscription writes metadata to headers."""


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the inserted tag. With payload unwrapping the body is the published message, without an envelope."""
    envelope = parse_object(body)
    if "message" not in envelope and "action" in envelope:
        delivery = headers.get(_MESSAGE_ID, "")
        read = partial(read_change, registry=registry, delivery=delivery)
        return gather([envelope], read, refusing=False)
    message = as_object(at(envelope, "message"), "message")
    return gather([message], lambda entry: _read_message(registry, entry), refusing=False)


def _read_message(registry: str, message: dict[str, object]) -> PushEvent | str:
    delivery = text_at(message, "messageId") or text_at(message, "message_id")
    return read_change(parse_object(parse_base64(text_at(message, "data"))), registry=registry, delivery=delivery)


def read_change(value: object, *, registry: str | None, delivery: str) -> PushEvent | str:
    """Return the push in *value*, or why it is none; *registry* None accepts the registry that the message names."""
    action, name = text_at(value, "action"), text_at(value, "tag")
    if action != "INSERT":
        return f"action {quoted(action)} is not a push"
    if not name:
        return "an image without a tag"
    host, path, tag = _split(name)
    if registry is not None and host.lower() != registry.lower():
        return f"it is about the registry {quoted(host)}"
    digest = split_reference(text_at(value, "digest"))[2] or ""
    return push_event(registry or host.lower(), path, tag, digest=digest, delivery=delivery)


def _split(name: str) -> tuple[str, str, str]:
    """Return host, path and tag of `host/path:tag`."""
    reference, tag, digest = split_reference(name)
    host, slash, path = reference.partition("/")
    if not slash or tag is None or digest is not None:
        raise MalformedNotification(f"{quoted(name)} is not host/path:tag")
    return host, path, tag
