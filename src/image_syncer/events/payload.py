"""Untrusted bodies as plain values, bounded in size, depth and number before they are parsed."""

import base64
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import parse_qsl

from image_syncer.bounded_json import InvalidJson, read_json
from image_syncer.events.notification import MalformedNotification, Oversized
from image_syncer.oci.media_type import essence

BODY_LIMIT: Final = 1024 * 1024
DEPTH_LIMIT: Final = 32
FIELDS_LIMIT: Final = 64
FORM: Final = "application/x-www-form-urlencoded"


def parse_json(body: bytes) -> object:
    """Return the JSON value of *body*; `Oversized` beyond 1 MiB, `MalformedNotification` if it is not JSON.

    At most 32 levels. The last of repeated keys wins. NaN and Infinity are refused (RFC 8259 section 6). All numbers
    are floats.
    """
    _check_size(body)
    try:
        return read_json(body, depth=DEPTH_LIMIT, strict=False)
    except InvalidJson as error:
        raise MalformedNotification(str(error)) from None


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object of *body*; `MalformedNotification` for any other value."""
    return as_object(parse_json(body), "the body")


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form or query (`application/x-www-form-urlencoded`); the first of equal names wins."""
    _check_size(body)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT)
    except UnicodeDecodeError:
        raise MalformedNotification("not a form: it holds unescaped bytes") from None
    except ValueError:
        raise MalformedNotification(f"a form with more than {FIELDS_LIMIT} fields") from None
    return dict(reversed(pairs))


def is_form(headers: Mapping[str, str]) -> bool:
    """Whether the content type is that of a form."""
    return essence(headers.get("content-type", "")) == FORM


def payload(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the JSON text: the body, or the field `payload` of a form, which some senders offer as an option."""
    if not is_form(headers):
        return body
    text = parse_form(body).get("payload")
    if text is None:
        raise MalformedNotification("a form without the field 'payload'")
    return text.encode()


def parse_base64(text: str) -> bytes:
    """Return the bytes that *text* encodes (RFC 4648 section 4); `MalformedNotification` if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise MalformedNotification("not base64") from None


def as_object(value: object, name: str) -> dict[str, object]:
    """Return *value* as an object; `MalformedNotification`, which contains *name*, for any other value."""
    if not isinstance(value, dict):
        raise MalformedNotification(f"{name} is not an object")
    return cast("dict[str, object]", value)


def at(value: object, *path: str) -> object:
    """Return the member at *path* below *value*; None if a part of it is missing or no object."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(name)
    return value


def text_at(value: object, *path: str) -> str:
    """Return the text at *path*, empty if missing or null; `MalformedNotification` for any other value."""
    found = at(value, *path)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise MalformedNotification(f"{'.'.join(path)} is not a text")
    return found


def list_at(value: object, *path: str) -> list[object]:
    """Return the list at *path*, empty if missing or null; `MalformedNotification` for any other value."""
    found = at(value, *path)
    if found is None:
        return []
    if not isinstance(found, list):
        raise MalformedNotification(f"{'.'.join(path)} is not a list")
    return cast("list[object]", found)


def required_text(value: object, *path: str) -> str:
    """Return the non-empty text at *path*; `MalformedNotification` otherwise."""
    found = text_at(value, *path)
    if not found:
        raise MalformedNotification(f"{'.'.join(path)} is missing")
    return found


def _check_size(body: bytes) -> None:
    if len(body) > BODY_LIMIT:
        raise Oversized(f"a body of {len(body)} bytes; at most {BODY_LIMIT} are read")
