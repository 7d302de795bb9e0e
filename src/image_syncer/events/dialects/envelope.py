"""CloudEvents 1.0 over HTTP in three modes: binary, structured and batched (CloudEvents HTTP binding, section 3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote

from image_syncer.events.payload import as_object, at, parse_base64, parse_json, text_at

_ORIGIN_HEADER: Final = "webhook-request-origin"
_ORIGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event: *data* is any JSON value, None without one; missing texts are empty."""

    id: str
    source: str
    type: str
    subject: str
    data: object

    @property
    def identity(self) -> str:
        """The key of a repeated event: `source` and `id`, empty if one is missing."""
        return f"{self.source} {self.id}" if self.source and self.id else ""


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the attributes are headers and the body is the data."""
    return "ce-type" in headers


def is_structured(value: object) -> bool:
    """Whether a JSON *value* is an event with its attributes."""
    return isinstance(value, dict) and "specversion" in value


def entries(headers: Mapping[str, str], body: bytes) -> list[object]:
    """Return the entries of a request in any mode, for `event_of` or the sender's own format."""
    if is_binary(headers):
        return [_from_headers(headers, body)]
    value = parse_json(body)
    return cast("list[object]", value) if isinstance(value, list) else [as_object(value, "the body")]


def event_of(entry: object) -> CloudEvent | None:
    """Return *entry* as an event, None if it has another shape.

    `MalformedNotification` if an attribute is not a text.
    """
    if isinstance(entry, CloudEvent):
        return entry
    if not is_structured(entry):
        return None
    encoded = text_at(entry, "data_base64")
    data = parse_json(parse_base64(encoded)) if encoded else at(entry, "data")
    kind, subject = text_at(entry, "type"), text_at(entry, "subject")
    return CloudEvent(text_at(entry, "id"), text_at(entry, "source"), kind, subject, data)


def answer_to_options(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that consent to an OPTIONS request, empty if it does not ask for consent.

    CloudEvents HTTP 1.1 Web Hooks, section 4 (abuse protection). Azure Event Grid asks before it sends CloudEvents.
    """
    origin = headers.get(_ORIGIN_HEADER, "")
    if not _ORIGIN.fullmatch(origin):
        return {}
    return {"webhook-allowed-origin": origin, "webhook-allowed-rate": "*"}


def _from_headers(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    # Section 3.1.3.2: values of attributes are percent-encoded in headers.
    texts = [unquote(headers.get(f"ce-{name}", "")) for name in ("id", "source", "type", "subject")]
    return CloudEvent(*texts, data=parse_json(body) if body.strip() else None)
