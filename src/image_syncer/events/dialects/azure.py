"""Azure Container Registry: its own webhooks, and its events through Event Grid in both schemas.

See learn.microsoft.com, "Azure Container Registry webhook schema reference" and "... as an Event Grid source".
"""

import json
from collections.abc import Mapping

from image_syncer.events.dialects.envelope import entries, event_of
from image_syncer.events.notification import (
    Answer,
    Handshake,
    MalformedNotification,
    PushEvent,
    gather,
    push_event,
    quoted,
)
from image_syncer.events.payload import at, required_text, text_at

_PUSHED = "Microsoft.ContainerRegistry.ImagePushed"
_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_CODE_LIMIT = 256


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Return the pushed tags, or the answer to Event Grid's validation of a new subscription."""
    found = entries(headers, body)
    for entry in found:
        if at(entry, "eventType") == _VALIDATION:
            return _validation_answer(entry)
    return gather(found, lambda entry: read_entry(registry, entry))


def read_entry(registry: str, entry: object) -> PushEvent | str:
    """Return the push in *entry*, which has one of three shapes, or the reason why it has none."""
    event = event_of(entry)
    kind = event.type if event is not None else text_at(entry, "eventType")
    if not kind:
        return _read_data(registry, entry, text_at(entry, "id"))
    if kind != _PUSHED:
        return f"type {quoted(kind)} is not a push"
    if event is not None:
        return _read_data(registry, event.data, event.identity)
    return _read_data(registry, at(entry, "data"), text_at(entry, "id"))


def _read_data(registry: str, data: object, delivery: str) -> PushEvent | str:
    action, host = text_at(data, "action"), text_at(data, "request", "host")
    if action != "push":
        return f"action {quoted(action)} is not a push"
    if host and not _is_same_registry(host.lower(), registry.lower()):
        return f"it is about the registry {quoted(host)}"
    tag = text_at(data, "target", "tag")
    if not tag:
        return "a manifest without a tag"
    path, digest = required_text(data, "target", "repository"), text_at(data, "target", "digest")
    return push_event(registry, path, tag, digest=digest, delivery=delivery)


def _is_same_registry(host: str, registry: str) -> bool:
    """Whether *host* is *registry* or one of its regional hosts, such as `acme.westeurope.geo.azurecr.io`."""
    name, _, domain = registry.partition(".")
    return host == registry or (bool(domain) and host.startswith(f"{name}.") and host.endswith(f".{domain}"))


def _validation_answer(entry: object) -> Handshake:
    """Echo the validation code. Its `validationUrl` is never fetched."""
    code = required_text(entry, "data", "validationCode")
    if len(code) > _CODE_LIMIT:
        raise MalformedNotification(f"a validation code of more than {_CODE_LIMIT} characters")
    return Handshake(json.dumps({"validationResponse": code}).encode(), "application/json")
