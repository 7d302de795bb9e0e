"""zot's CloudEvents (project-zot/zot, pkg/extensions/events): one for each tag that changed."""

from collections.abc import Mapping

from image_syncer.events.dialects.envelope import CloudEvent, entries, event_of
from image_syncer.events.notification import MalformedNotification, Notification, PushEvent, gather, push_event, quoted
from image_syncer.events.payload import required_text, text_at


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the tags that were updated."""
    return gather(entries(headers, body), lambda entry: _read_entry(registry, entry))


def read_event(registry: str, event: CloudEvent) -> PushEvent | str:
    """Return what an event of the type `zotregistry.image.updated` announces; its first part can be configured."""
    if not event.type.endswith(".image.updated"):
        return f"type {quoted(event.type)} is no push"
    tag = text_at(event.data, "reference")
    if not tag or ":" in tag:
        return "a manifest without a tag"
    path, digest = required_text(event.data, "name"), text_at(event.data, "digest")
    return push_event(registry, path, tag, digest=digest, delivery=event.identity)


def _read_entry(registry: str, entry: object) -> PushEvent | str:
    event = event_of(entry)
    if event is None:
        raise MalformedNotification("no CloudEvent: neither ce- headers nor specversion")
    return read_event(registry, event)
