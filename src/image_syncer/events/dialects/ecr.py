"""Amazon ECR's events from EventBridge, raw or converted to CloudEvents by an input transformer.

See docs.aws.amazon.com, "Amazon ECR events and EventBridge". Account and region of an event are compared with those in
the registry's host, if it contains them.
"""

import re
from collections.abc import Mapping

from image_syncer.events.dialects.envelope import CloudEvent, entries, event_of
from image_syncer.events.notification import (
    MalformedNotification,
    Notification,
    PushEvent,
    gather,
    ignored,
    push_event,
    quoted,
)
from image_syncer.events.payload import required_text, text_at

_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+")
_SOURCE = re.compile(r"(?:urn:aws|arn:aws[a-z-]*):ecr:(?P<region>[^:]*):(?P<account>[^:]*):repository/.*")


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the tags pushed to *registry*."""
    if "x-amz-sns-message-type" in headers:
        return ignored("an SNS message; let EventBridge call an API destination instead")
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
    tag = text_at(event.data, "imageTag")
    if not tag:
        return "an image without a tag"
    path, digest = required_text(event.data, "repositoryName"), text_at(event.data, "imageDigest")
    return push_event(registry, path, tag, digest=digest, delivery=event.identity)


def _read_entry(registry: str, entry: object) -> PushEvent | str:
    event = event_of(entry)
    if event is not None:
        return read_event(registry, event)
    kind, action = text_at(entry, "detail-type"), text_at(entry, "detail", "action-type")
    result = text_at(entry, "detail", "result")
    if text_at(entry, "source") != "aws.ecr" or kind != "ECR Image Action":
        return f"detail-type {quoted(kind)} is not an image action of ECR"
    if (action, result) != ("PUSH", "SUCCESS"):
        return f"action {quoted(action)} with result {quoted(result)} is not a finished push"
    if _is_elsewhere(registry, text_at(entry, "account"), text_at(entry, "region")):
        return "it is about another account or region"
    return _read_detail(registry, entry)


def _read_detail(registry: str, entry: object) -> PushEvent | str:
    tag = text_at(entry, "detail", "image-tag")
    if not tag:
        return "an image without a tag"
    path, digest = required_text(entry, "detail", "repository-name"), text_at(entry, "detail", "image-digest")
    return push_event(registry, path, tag, digest=digest, delivery=text_at(entry, "id"))


def _is_elsewhere(registry: str, account: str, region: str) -> bool:
    host = _HOST.fullmatch(registry.lower())
    return host is not None and (host["account"], host["region"]) != (account, region)
