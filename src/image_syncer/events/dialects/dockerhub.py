"""Docker Hub's webhooks, sent for pushed tags only."""

from collections.abc import Mapping

from image_syncer.events.notification import Notification, ignored, one, push_event
from image_syncer.events.payload import parse_object, required_text, text_at


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the pushed tag. The untrusted `callback_url` is never called."""
    del headers
    value = parse_object(body)
    path = required_text(value, "repository", "repo_name")
    tag = text_at(value, "push_data", "tag")
    return one(push_event(registry, path, tag)) if tag else ignored("a push without a tag")
