"""Package webhooks of Gitea and Forgejo."""

from collections.abc import Mapping

from image_syncer.events.notification import Notification, ignored, one, push_event, quoted
from image_syncer.events.payload import parse_object, payload, required_text, text_at

_PREFIXES = ("x-gitea", "x-forgejo")


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the created tag. A moved tag is reported as created, too."""
    kind = _header(headers, "event")
    if kind != "package":
        return ignored(f"event {quoted(kind)} is not about a package")
    value = parse_object(payload(headers, body))
    action, package_type = text_at(value, "action"), text_at(value, "package", "type")
    if action != "created":
        return ignored(f"action {quoted(action)} is not a push")
    if package_type != "container":
        return ignored(f"a package of type {quoted(package_type)}")
    tag = required_text(value, "package", "version")
    if ":" in tag:
        return ignored("a manifest without a tag")
    owner = text_at(value, "package", "owner", "login") or required_text(value, "package", "owner", "username")
    # Owners may have upper-case letters, which Gitea lowers in the paths of its registry.
    path = f"{owner}/{required_text(value, 'package', 'name')}".lower()
    return one(push_event(registry, path, tag, delivery=_header(headers, "delivery")))


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((headers[key] for prefix in _PREFIXES if (key := f"{prefix}-{name}") in headers), "")
