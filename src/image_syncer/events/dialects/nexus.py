"""Repository webhooks of Sonatype Nexus 3: components, and assets, since a moved tag may arrive only as an asset."""

import re
from collections.abc import Mapping
from typing import Final

from image_syncer.events.notification import Notification, ignored, one, push_event, quoted
from image_syncer.events.payload import as_object, at, parse_object, required_text, text_at

_WANTED: Final = frozenset({"CREATED", "UPDATED"})
_MANIFEST: Final = re.compile(r"/?v2/(?P<path>.+)/manifests/(?P<tag>[^/]+)", re.DOTALL)


def read(registry: str, headers: Mapping[str, str], body: bytes, *, prefix: str = "") -> Notification:
    """Return the created or updated tag; *prefix* is the path before the image's name, if the host needs one."""
    value = parse_object(body)
    action = text_at(value, "action")
    name = next((name for name in ("component", "asset") if at(value, name) is not None), None)
    if name is None:
        return ignored(
            f"hook {quoted(headers.get('x-nexus-webhook-id', ''))} is neither about a component nor an asset"
        )
    if action not in _WANTED:
        return ignored(f"action {quoted(action)} is not a push")
    subject = as_object(at(value, name), name)
    if text_at(subject, "format") != "docker":
        return ignored(f"a {name} of the format {quoted(text_at(subject, 'format'))}")
    path, tag = _named(subject, is_asset=name == "asset")
    if not tag or ":" in tag:
        return ignored(f"the {name} is not a tag")
    path = "/".join(part for part in (prefix, path) if part)
    return one(push_event(registry, path, tag, delivery=headers.get("x-nexus-webhook-delivery", "")))


def _named(subject: dict[str, object], *, is_asset: bool) -> tuple[str, str]:
    """Return image and tag; an empty tag for an asset that is not a manifest, such as a layer."""
    name = required_text(subject, "name")
    if not is_asset:
        return name, text_at(subject, "version")
    manifest = _MANIFEST.fullmatch(name)
    return (manifest["path"], manifest["tag"]) if manifest else ("", "")
