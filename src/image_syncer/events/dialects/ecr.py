"""Amazon ECR's events from EventBridge, raw or converted to CloudEvents by an input transformer.

See docs.aws.amazon.com, "Amazon ECR events and EventBridge". Account and region of an event are compared with those in
the registry's host, if it contains them.
"""

import re
from collections.abc import Mapping
from typing import Final

from image_syncer.events.dialects.envelope import CloudEvent, entries, event_of
from image_syncer.events.notification import (
    MalformedNotification,
    Notification,
    PushEvent,
    gather,
    ignored,
    push_event,
    quoted,
    referrer_event,
)
from image_syncer.events.payload import required_text, text_at
from image_syncer.events.sns import RAW_HEADER, TYPE_HEADER
from image_syncer.oci import media_type
from image_syncer.oci.reference import split_reference

_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+")
# An image arrives in a registry by a push, by replication from another region or account, or through the cache.
_PUSHES: Final[Mapping[str, Mapping[str, str]]] = {
    "ECR Image Action": {"action-type": "PUSH", "result": "SUCCESS"},
    "ECR Replication Action": {"action-type": "REPLICATE", "result": "SUCCESS"},
    "ECR Pull Through Cache Action": {"sync-status": "SUCCESS"},
}
_SOURCE = re.compile(r"(?:urn:aws|arn:aws[a-z-]*):ecr:(?P<region>[^:]*):(?P<account>[^:]*):repository/.*")


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the tags pushed to *registry*."""
    if TYPE_HEADER in headers and headers.get(RAW_HEADER, "").lower() != "true":
        return ignored("an SNS message, which needs `topic:` in the hook's configuration")
    return gather(entries(headers, body), lambda entry: _read_entry(registry, entry))


def read_event(registry: str, event: CloudEvent) -> PushEvent | str:
    """Return the push in a CloudEvent of the type `com.amazon.ecr.image.push`."""
    if event.type != "com.amazon.ecr.image.push":
        return f"type {quoted(event.type)} is not a push"
    source = _SOURCE.fullmatch(event.source)
    if source is None:
        raise MalformedNotification(f"source {quoted(event.source)} names no repository of ECR")
    if _is_elsewhere(registry, source["account"], source["region"]):
        return "it is about another account or region"
    # Transformers differ in what they put into the data; the subject may be `repository:tag`.
    subject_path, subject_tag, _ = split_reference(event.subject)
    tag = text_at(event.data, "imageTag") or subject_tag
    if not tag:
        return "an image without a tag"
    path = text_at(event.data, "repositoryName") or subject_path
    if not path:
        raise MalformedNotification("neither data.repositoryName nor the subject names a repository")
    return push_event(registry, path, tag, digest=text_at(event.data, "imageDigest"), delivery=event.identity)


def _read_entry(registry: str, entry: object) -> PushEvent | str:
    event = event_of(entry)
    if event is not None:
        return read_event(registry, event)
    kind = text_at(entry, "detail-type")
    expected = _PUSHES.get(kind)
    if text_at(entry, "source") != "aws.ecr" or expected is None:
        return f"detail-type {quoted(kind)} is not an image action of ECR"
    found = {name: text_at(entry, "detail", name) for name in expected}
    if found != expected:
        shown = ", ".join(f"{name} {quoted(value)}" for name, value in found.items())
        return f"{shown} is not a finished push"
    if _is_elsewhere(registry, text_at(entry, "account"), text_at(entry, "region")):
        return "it is about another account or region"
    return _read_detail(registry, entry)


def _read_detail(registry: str, entry: object) -> PushEvent | str:
    tag, delivery = text_at(entry, "detail", "image-tag"), text_at(entry, "id")
    digest = text_at(entry, "detail", "image-digest")
    if not tag:
        is_attached = _is_attached(entry)
        event = referrer_event(registry, _path(entry), digest, delivery=delivery) if is_attached else None
        return event or "an image without a tag"
    return push_event(registry, _path(entry), tag, digest=digest, delivery=delivery)


def _path(entry: object) -> str:
    return required_text(entry, "detail", "repository-name")


def _is_attached(entry: object) -> bool:
    """Whether the manifest without a tag in *entry* is no image and no index: a signature, an SBOM.

    The event does not name its subject, so the event of the referrer itself stands for all images of the repository.
    """
    artifact = text_at(entry, "detail", "artifact-media-type")
    kind = text_at(entry, "detail", "manifest-media-type")
    return bool(artifact) and artifact not in media_type.IMAGE_CONFIGS and kind not in media_type.INDEXES


def _is_elsewhere(registry: str, account: str, region: str) -> bool:
    host = _HOST.fullmatch(registry.lower())
    return host is not None and (host["account"], host["region"]) != (account, region)
