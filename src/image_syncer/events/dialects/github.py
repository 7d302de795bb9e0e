"""GitHub's `package` and `registry_package` webhooks, for images in ghcr.io."""

from collections.abc import Mapping

from image_syncer.events.notification import Notification, ignored, one, push_event, quoted
from image_syncer.events.payload import as_object, at, parse_object, payload, required_text, text_at
from image_syncer.oci.reference import split_reference

_EVENTS = frozenset({"package", "registry_package"})
_ACTIONS = frozenset({"published", "updated"})
_TYPES = frozenset({"container", "docker"})


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the published or moved tag. A hook with both events reports each push twice."""
    kind = headers.get("x-github-event", "")
    if kind not in _EVENTS:
        return ignored(f"event {quoted(kind)} is not about a package")
    value = parse_object(payload(headers, body))
    action = text_at(value, "action")
    if action not in _ACTIONS:
        return ignored(f"action {quoted(action)} is not a push")
    return _read_package(registry, as_object(at(value, kind), kind), headers.get("x-github-delivery", ""))


def _read_package(registry: str, package: dict[str, object], delivery: str) -> Notification:
    kind = text_at(package, "package_type")
    if kind.lower() not in _TYPES:
        return ignored(f"a package of type {quoted(kind)}")
    owner = text_at(package, "namespace") or required_text(package, "owner", "login")
    path = f"{owner}/{required_text(package, 'name')}".lower()
    version = at(package, "package_version")
    tag = text_at(version, "container_metadata", "tag", "name") or _tag_of_url(version)
    if not tag:  # It is a child of an index, or an attestation.
        return ignored("a package version without a tag")
    digest = text_at(version, "container_metadata", "tag", "digest") or text_at(version, "version")
    return one(push_event(registry, path, tag, digest=digest, delivery=delivery))


def _tag_of_url(version: object) -> str:
    """Return the tag in `ghcr.io/owner/name:tag`; the URL of an untagged version ends with the colon."""
    return split_reference(text_at(version, "package_url"))[1] or ""
