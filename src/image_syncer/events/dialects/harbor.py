"""Harbor's webhooks in both formats, and those of its relatives: Tencent TCR and Huawei SWR Enterprise.

goharbor/harbor, src/pkg/notifier/formats and model/event.go. The relatives send the default format; Tencent with the
type of Harbor 1.
"""

from collections.abc import Mapping

from image_syncer.events.dialects.envelope import entries, event_of
from image_syncer.events.notification import Notification, PushEvent, gather, ignored, push_event, quoted
from image_syncer.events.payload import at, list_at, text_at

_PUSHES = frozenset({"PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"})


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the pushed tags; all other types are ignored.

    Harbor's "test endpoint" sends types of its own, and reports a refusal as a broken endpoint.
    """
    return gather(entries(headers, body), lambda entry: read_entry(registry, entry))


def read_entry(registry: str, entry: object) -> Notification:
    """Return the notification of *entry* in either format."""
    event = event_of(entry)
    if event is None:
        return _read_data(registry, text_at(entry, "type"), at(entry, "event_data"), "")
    return _read_data(registry, event.type, event.data, event.identity)


def _read_data(registry: str, kind: str, data: object, delivery: str) -> Notification:
    if kind not in _PUSHES:
        return ignored(f"type {quoted(kind)} is not a push")
    path = text_at(data, "repository", "repo_full_name") or _joined_name(data)
    return gather(list_at(data, "resources"), lambda resource: _read_resource(registry, path, resource, delivery))


def _joined_name(data: object) -> str:
    return f"{text_at(data, 'repository', 'namespace')}/{text_at(data, 'repository', 'name')}"


def _read_resource(registry: str, path: str, resource: object, delivery: str) -> PushEvent | str:
    tag = text_at(resource, "tag")
    if not tag or ":" in tag:  # Harbor writes the digest here for an artifact without a tag.
        return "an artifact without a tag"
    return push_event(registry, path, tag, digest=text_at(resource, "digest"), delivery=delivery)
