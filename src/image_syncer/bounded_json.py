"""JSON from untrusted peers, bounded before it is parsed.

A few megabytes can hold millions of values, or a nesting that overflows the parser. And parsers disagree: a duplicate
key means one thing to one of them and another to the next (the class of CVE-2021-41190). So manifests are read
strictly.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Never, cast

from image_syncer.errors import ProtocolError, TooLarge

DEPTH_LIMIT: Final = 64
"""How deep a registry's document may be nested; manifests need five levels."""

VALUES_LIMIT: Final = 250_000
"""How many values a registry's document may have: enough for 10 000 descriptors with annotations."""

JsonObject = dict[str, Any]

# The last alternative matches a quote that is never closed. Without it, the scan would look for the closing quote again
# from each quote behind it: quadratic time.
_STRUCTURE: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<unclosed>")', re.DOTALL
)


class InvalidJson(ValueError):
    """The text is not JSON (RFC 8259); the message says why."""


class AmbiguousJson(InvalidJson):
    """Two correct parsers may read different values from this text."""


class JsonTooLarge(InvalidJson):
    """The text is nested too deep, or holds too many values."""


def read_json(content: bytes, *, depth: int, values: int | None = None, strict: bool) -> object:
    """Return the JSON value in *content*, nested at most *depth* levels, with at most *values* values (None: any).

    *strict* reads only what every parser reads alike: UTF-8 without a byte order mark, no duplicate keys, no lone
    surrogates. Otherwise the last of duplicate keys counts, and every number is a float. Raises `InvalidJson`.
    """
    opened = content.count(b"{") + content.count(b"[")
    # Commas and brackets inside strings count too: an upper bound that costs no parsing.
    if values is not None and opened + content.count(b",") > values:
        raise JsonTooLarge(f"a document with more than {values} values")
    if opened > depth and _is_deeper(content, depth):
        raise JsonTooLarge(f"nested deeper than {depth} levels")
    try:
        return _parse_strictly(content) if strict else _parse_leniently(content)
    except UnicodeDecodeError:
        raise InvalidJson("not JSON: the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        reason = error.msg.rstrip(":").removesuffix(" at")
        raise InvalidJson(f"not JSON: {reason} at character {error.pos}") from None


def parse_object(content: bytes, what: str, *, values: int = VALUES_LIMIT) -> JsonObject:
    """Return the JSON object in *content*, read strictly; *what* names the document in errors.

    `TooLarge` beyond 64 levels or *values* values, `ProtocolError` for anything but one object without ambiguities.
    """
    try:
        document = read_json(content, depth=DEPTH_LIMIT, values=values, strict=True)
    except JsonTooLarge as error:
        raise TooLarge(f"{what}: {error}") from None
    except AmbiguousJson as error:
        raise ProtocolError(f"{what}: {error}; refused as ambiguous") from None
    except InvalidJson as error:
        raise ProtocolError(f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise ProtocolError(f"{what}: not a JSON object")
    return cast("JsonObject", document)


def refuse_lookalikes(document: JsonObject, names: Mapping[str, str], what: str) -> None:
    """Raise `ProtocolError` for a key that differs from one of *names* in case only, since Go's parsers ignore case.

    *names* maps the lower-case form of each name to the name.
    """
    for key in document:
        if names.get(key.lower(), key) != key:
            raise ProtocolError(f"{what}: a key {key[:100]!r}; refused as ambiguous")


def _parse_strictly(content: bytes) -> object:
    text = content.decode()
    try:
        document: object = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise AmbiguousJson("a lone surrogate") from None
    except (json.JSONDecodeError, InvalidJson):
        raise
    except ValueError:
        raise InvalidJson("not JSON: an integer with too many digits") from None  # Python's own limit: 4300.
    return document


def _parse_leniently(content: bytes) -> object:
    return json.loads(content.decode("utf-8-sig"), parse_int=float, parse_constant=_refuse_constant)


def _is_deeper(content: bytes, limit: int) -> bool:
    depth = 0
    for match in _STRUCTURE.finditer(content):
        if match["unclosed"]:
            return False  # Not JSON; the parser reports it.
        depth += bool(match["open"]) - bool(match["close"])
        if depth > limit:
            return True
    return False


def _unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AmbiguousJson("a duplicate key")
    return found


def _refuse_constant(name: str) -> Never:
    raise InvalidJson(f"not JSON: {name} is not a number")
