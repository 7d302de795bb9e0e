"""zot's CloudEvents (project-zot/zot, pkg/extensions/events): one per changed tag, and per manifest without a tag.

The event has the manifest as text, so a referrer shows its subject.
"""

from collections.abc import Mapping

from image_syncer.events.dialects.envelope import CloudEvent, entries, event_of
from image_syncer.events.notification import (
    MalformedNotification,
    Notification,
    PushEvent,
    gather,
    push_event,
    quoted,
    referrer_event,
)
from image_syncer.events.payload import parse_json, required_text, text_at


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the updated tags."""
    return gather(entries(headers, body), lambda entry: _read_entry(registry, entry))


def read_event(registry: str, event: CloudEvent) -> PushEvent | str:
    """Return the push in an event of the type `zotregistry.image.updated`, whose first part is configurable."""
    if not event.type.endswith(".image.updated"):
        return f"type {quoted(event.type)} is not a push"
    tag = text_at(event.data, "reference")
    if not tag or ":" in tag:
        return _read_referrer(registry, event) or "a manifest without a tag"
    path, digest = required_text(event.data, "name"), text_at(event.data, "digest")
    return push_event(registry, path, tag, digest=digest, delivery=event.identity)


def _read_referrer(registry: str, event: CloudEvent) -> PushEvent | None:
    """Return the event of a referrer; None if the manifest in *event* names no subject."""
    text = text_at(event.data, "manifest")
    try:
        subject = text_at(parse_json(text.encode()), "subject", "digest") if text else ""
    except MalformedNotification:
        return None
    return referrer_event(registry, required_text(event.data, "name"), subject, delivery=event.identity)


def _read_entry(registry: str, entry: object) -> PushEvent | str:
    event = event_of(entry)
    if event is None:
        raise MalformedNotification("not a CloudEvent: neither ce- headers nor specversion")
    return read_event(registry, event)
