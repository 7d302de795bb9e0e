"""Notifications of Distribution (`registry` 2 and 3) and registries based on it, such as GitLab's.

See Distribution, docs/content/about/notifications.md. Distribution resends an envelope of events in order, without a
limit, until it is accepted. So a malformed entry is left out, and never causes a refusal of its envelope.
"""

from collections.abc import Mapping

from image_syncer.events.notification import MalformedNotification, Notification, PushEvent, gather, push_event, quoted
from image_syncer.events.payload import at, list_at, parse_object, text_at
from image_syncer.oci.media_type import MANIFESTS, essence


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the pushed tags of an envelope."""
    del headers  # The envelope's media type differs by version (v1, v2); the body has all information.
    envelope = parse_object(body)
    if at(envelope, "events") is None:
        raise MalformedNotification("events is missing")
    return gather(list_at(envelope, "events"), lambda entry: _read_entry(registry, entry), refusing=False)


def _read_entry(registry: str, entry: object) -> PushEvent | str:
    action, media_type = text_at(entry, "action"), text_at(entry, "target", "mediaType")
    if action != "push":
        return f"action {quoted(action)} is not a push"
    if essence(media_type) not in MANIFESTS:
        return f"{quoted(media_type)} is not a manifest"
    tag = text_at(entry, "target", "tag")
    if not tag:
        return "a manifest without a tag"
    return push_event(
        registry,
        text_at(entry, "target", "repository"),
        tag,
        digest=text_at(entry, "target", "digest"),
        delivery=text_at(entry, "id"),
    )
