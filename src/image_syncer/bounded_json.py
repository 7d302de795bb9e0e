"""JSON documents from strangers: bounded before they cost anything, and refused where readers could differ.

A few megabytes can hold millions of values, or a nesting that ends a parser; a key that stands twice means one thing to
this reader and another to the next (CVE-2021-41190 is of that kind).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Never, cast

from image_syncer.errors import ProtocolError, TooLarge

DEPTH_LIMIT: Final = 64
"""How deep a document may be nested; manifests need five levels."""

VALUES_LIMIT: Final = 250_000
"""How many values a document may have: 10 000 descriptors with annotations."""

JsonObject = dict[str, Any]

# A quote that nothing closes is its own alternative: else each quote behind it would be searched to the end again.
_STRUCTURE: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<unclosed>")', re.DOTALL
)


class _Ambiguous(ValueError):
    """A document that can be read in more than one way."""


def parse_object(content: bytes, what: str, *, values: int = VALUES_LIMIT) -> JsonObject:
    """Return the JSON object in *content* (RFC 8259), which *what* names in errors.

    `TooLarge` where it is nested too deep or has more than *values* values, `ProtocolError` where it is no object in
    UTF-8, or holds a key twice, half a character, or NaN: what not every reader would read alike.
    """
    opened = content.count(b"{") + content.count(b"[")
    if opened + content.count(b",") > values:  # Those within texts count as well: an upper bound, at no cost.
        raise TooLarge(f"{what}: a document with more than {values} values")
    if opened > DEPTH_LIMIT and _is_deep(content):
        raise TooLarge(f"{what}: a document that is nested deeper than {DEPTH_LIMIT} levels")
    try:
        text = content.decode()
        document: object = json.loads(text, object_pairs_hook=_once_each, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProtocolError(f"{what}: half a character; refused as ambiguous") from None
    except _Ambiguous as error:
        raise ProtocolError(f"{what}: {error}; refused as ambiguous") from None
    except (ValueError, RecursionError):
        raise ProtocolError(f"{what}: not JSON") from None
    if not isinstance(document, dict):
        raise ProtocolError(f"{what}: no JSON object")
    return cast("JsonObject", document)


def refuse_lookalikes(document: JsonObject, names: Mapping[str, str], what: str) -> None:
    """Raise `ProtocolError` where a key is one of *names* but for upper and lower case: Go's readers take it for that.

    *names* has each by its form in lower case.
    """
    for key in document:
        if names.get(key.lower(), key) != key:
            raise ProtocolError(f"{what}: a key {key[:100]!r}; refused as ambiguous")


def _is_deep(content: bytes) -> bool:
    depth = 0
    for match in _STRUCTURE.finditer(content):
        if match["unclosed"]:
            return False  # No JSON, as the parser will say.
        depth += bool(match["open"]) - bool(match["close"])
        if depth > DEPTH_LIMIT:
            return True
    return False


def _once_each(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Ambiguous("a key that stands twice")
    return found


def _refuse_constant(name: str) -> Never:
    raise _Ambiguous(f"{name}, which is no number")
