"""Quay's notifications: the body has no type, so its members identify a push.

See quay/quay, notifications/notificationevent.py. Three refusals disable a notification, and a user's template can give
it any shape, so unrecognised bodies are ignored instead of refused.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from image_syncer.events.notification import Notification, PushEvent, gather, ignored, push_event
from image_syncer.events.payload import parse_object, text_at

_OTHER_EVENTS = ("vulnerability", "message")


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return one event per updated tag."""
    del headers
    value = parse_object(body)
    updated = value.get("updated_tags")
    if updated is None or any(name in value for name in _OTHER_EVENTS):
        return ignored("not an event 'repo_push'")
    if not isinstance(updated, (list, dict)):
        return ignored("unrecognised: updated_tags is neither a list nor an object")
    path = text_at(value, "repository") or f"{text_at(value, 'namespace')}/{text_at(value, 'name')}"
    # The old form maps tags to image ids; iterating either form yields tags.
    return gather(list(cast("Iterable[object]", updated)), lambda tag: _read_tag(registry, path, tag), refusing=False)


def _read_tag(registry: str, path: str, tag: object) -> PushEvent | str:
    return push_event(registry, path, tag) if isinstance(tag, str) else "a tag that is not a text"
