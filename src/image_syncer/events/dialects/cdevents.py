"""CDEvents about artifacts (cdevents.dev, "Continuous Integration Events"), carried by CloudEvents.

The subject is a package URL of the type `oci` (purl specification): its `repository_url` names registry and repository,
its `tag` the tag, and its version the digest.
"""

from typing import Final
from urllib.parse import parse_qs, unquote

from image_syncer.events.dialects.envelope import CloudEvent
from image_syncer.events.notification import MalformedNotification, PushEvent, push_event, quoted
from image_syncer.events.payload import text_at

_PREFIX: Final = "pkg:oci/"
_PUSHES: Final = frozenset({"published", "packaged"})
_QUALIFIERS: Final = 16


def is_artifact_event(kind: str) -> bool:
    """Whether a CloudEvent of the type *kind* is a CDEvent about an artifact (`dev.cdevents.artifact.*`)."""
    return kind.split(".")[:3] == ["dev", "cdevents", "artifact"]


def read_event(registry: str, event: CloudEvent) -> PushEvent | str:
    """Return the push that *event* announces, or why it announces none."""
    parts = event.type.split(".")
    predicate = parts[3] if len(parts) > len(("dev", "cdevents", "artifact")) else ""
    if predicate not in _PUSHES:
        return f"type {quoted(event.type)} is not a push"
    subject = text_at(event.data, "subject", "id") or event.subject
    if not subject.startswith(_PREFIX):
        return f"subject {quoted(subject)} is not a package URL of the type oci"
    host, path, tag, digest = _split(subject)
    if host != registry.lower():
        return f"it is about the registry {quoted(host)}"
    if not tag:
        return "an image without a tag"
    return push_event(registry, path, tag, digest=digest, delivery=event.identity)


def _split(purl: str) -> tuple[str, str, str, str]:
    """Return host, path, tag and digest of `pkg:oci/name@digest?repository_url=host/path&tag=tag`."""
    name, _, query = purl.partition("#")[0].partition("?")
    try:
        qualifiers = parse_qs(query, max_num_fields=_QUALIFIERS)
    except ValueError:
        raise MalformedNotification(f"a package URL with more than {_QUALIFIERS} qualifiers") from None
    url = qualifiers.get("repository_url", [""])[0].removeprefix("https://").rstrip("/")
    host, slash, path = url.partition("/")
    if not slash:
        raise MalformedNotification(f"{quoted(purl)} has no repository_url that names a repository")
    return host.lower(), path, qualifiers.get("tag", [""])[0], unquote(name.partition("@")[2])
