"""Webhooks of Alibaba Cloud Container Registry, personal and enterprise edition."""

from collections.abc import Mapping

from image_syncer.events.notification import Notification, ignored, one, push_event
from image_syncer.events.payload import parse_object, required_text, text_at


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the pushed tag."""
    del headers
    value = parse_object(body)
    path = required_text(value, "repository", "repo_full_name")
    tag = text_at(value, "push_data", "tag")
    if not tag:
        return ignored("a push without a tag")
    return one(push_event(registry, path, tag, digest=text_at(value, "push_data", "digest")))
