"""JSON with comments and trailing commas to nodes.

A scanner replaces these by blanks and notes the line of every value; the standard library parses the rest. Both yield
values in document order. (A YAML parser accepts most JSON, but not keys beyond 1024 characters, and misses commas.)
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from image_syncer.config.documents.node import (
    DEPTH_LIMIT,
    NODE_LIMIT,
    DocumentError,
    ListNode,
    MapEntry,
    Node,
    Scalar,
    join_surrogates,
    map_node,
)

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]++)
    | (?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")
    | (?P<comment>//[^\n]*+ | /\*.*?\*/)
    | (?P<open>[{\[]) | (?P<close>[}\]]) | (?P<comma>,) | (?P<colon>:)
    | (?P<unclosed>" | /\*)
    | (?P<word>/ | [^\s"{}\[\],:/]++ | \s)""",
    re.DOTALL | re.VERBOSE,
)
_NOT_BREAK = re.compile(r"[^\r\n]")
_VALUES = frozenset({"string", "open", "word"})
_ENDS = frozenset({"string", "close", "word"})


class _Number(str):
    """A number as written: ids such as 007 and numbers of 40 digits keep their digits."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """The entries of an object, with duplicate keys."""


def parse_json(text: str) -> Node | None:
    """Return the value of *text*, None if it has only comments; `DocumentError` with the line if it is no JSON."""
    plain, lines = blank_comments(text)
    if not lines:
        return None
    try:
        value: object = json.loads(
            plain, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error.msg.rstrip(':')}", error.lineno, remedy=_remedy(error)) from None
    return _node(value, iter(lines))


def blank_comments(text: str) -> tuple[str, list[int]]:
    """Return *text* with comments and trailing commas replaced by blanks, and the line of each key and value.

    Lines are in document order. `DocumentError` for a string or a comment without end, for too many values, and for
    values that are nested too deeply.
    """
    pieces: list[str] = []
    lines: list[int] = []
    line, depth = 1, 0
    previous, comma_at = "", -1
    for kind, piece in _tokens(text):
        if kind == "unclosed":
            raise DocumentError("not JSON: a string without end" if piece == '"' else "a comment without end", line)
        depth += (kind == "open") - (kind == "close")
        if depth > DEPTH_LIMIT or len(lines) > NODE_LIMIT:
            raise DocumentError(f"nested deeper than {DEPTH_LIMIT} levels, or more than {NODE_LIMIT} values", line)
        if kind in _VALUES:
            lines.append(line)
        if kind == "close" and previous == "comma" and comma_at >= 0:
            pieces[comma_at] = " "
        if kind == "comma":
            comma_at = len(pieces) if previous in _ENDS else -1
        pieces.append(_NOT_BREAK.sub(" ", piece) if kind == "comment" else piece)
        line += piece.count("\n")
        if kind not in {"blank", "comment"}:
            previous = kind
    return "".join(pieces), lines


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        yield cast("str", match.lastgroup), match.group()


def _node(value: Any, lines: Iterator[int]) -> Node:
    line = next(lines)
    match value:
        case _Pairs():
            return map_node([MapEntry(_text(key, next(lines)), _node(item, lines)) for key, item in value], line)
        case list():
            return ListNode(tuple(_node(item, lines) for item in cast("list[object]", value)), line)
        case _Number():
            return Scalar(str(value), "number", line)
        case str():
            return _text(value, line)
        case None:
            return Scalar("", "null", line)
        case _:
            return Scalar("true" if value else "false", "truth", line)


def _text(text: str, line: int) -> Scalar:
    return Scalar(join_surrogates(text, line), "text", line)


def _remedy(error: json.JSONDecodeError) -> str | None:
    if error.msg.startswith("Expecting ',' delimiter"):
        return "a comma may be missing at the end of the line before"
    return None
