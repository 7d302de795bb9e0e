"""JSON with comments and trailing commas to nodes.

A scanner replaces these by blanks and notes the place of every value; the standard library parses the rest. Both yield
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
    plain, lines, columns = blank_comments(text)
    if not lines:
        return None
    try:
        value: object = json.loads(
            plain, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except json.JSONDecodeError as error:
        raise DocumentError(
            f"not JSON: {error.msg.rstrip(':')}", error.lineno, error.colno, remedy=_remedy(error)
        ) from None
    return _node(value, zip(lines, columns, strict=True))


def blank_comments(text: str) -> tuple[str, list[int], list[int]]:
    """Return *text* with comments and trailing commas replaced by blanks, and lines and columns of keys and values.

    They are in document order. `DocumentError` for a string or a comment without end, for too many values, and for
    values that are nested too deeply.
    """
    pieces: list[str] = []
    lines: list[int] = []
    columns: list[int] = []
    line, line_start, offset, depth = 1, 0, 0, 0
    previous, comma_at = "", -1
    for kind, piece in _tokens(text):
        if kind == "unclosed":
            problem = "not JSON: a string without end" if piece == '"' else "a comment without end"
            raise DocumentError(problem, line, offset - line_start + 1)
        depth += (kind == "open") - (kind == "close")
        if depth > DEPTH_LIMIT or len(lines) > NODE_LIMIT:
            raise DocumentError(f"nested deeper than {DEPTH_LIMIT} levels, or more than {NODE_LIMIT} values", line)
        if kind in _VALUES:
            lines.append(line)
            columns.append(offset - line_start + 1)
        if kind == "close" and previous == "comma" and comma_at >= 0:
            pieces[comma_at] = " "
        if kind == "comma":
            comma_at = len(pieces) if previous in _ENDS else -1
        pieces.append(_NOT_BREAK.sub(" ", piece) if kind == "comment" else piece)
        breaks = piece.count("\n")
        if breaks:
            line += breaks
            line_start = offset + piece.rfind("\n") + 1
        offset += len(piece)
        if kind not in {"blank", "comment"}:
            previous = kind
    return "".join(pieces), lines, columns


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        yield cast("str", match.lastgroup), match.group()


def _node(value: Any, places: Iterator[tuple[int, int]]) -> Node:
    place = next(places)
    match value:
        case _Pairs():
            return map_node([MapEntry(_text(key, next(places)), _node(item, places)) for key, item in value], *place)
        case list():
            return ListNode(tuple(_node(item, places) for item in cast("list[object]", value)), *place)
        case _Number():
            return Scalar(str(value), "number", *place)
        case str():
            return _text(value, place)
        case None:
            return Scalar("", "null", *place)
        case _:
            return Scalar("true" if value else "false", "truth", *place)


def _text(text: str, place: tuple[int, int]) -> Scalar:
    return Scalar(join_surrogates(text, place[0]), "text", *place)


def _remedy(error: json.JSONDecodeError) -> str | None:
    if error.msg.startswith("Expecting ',' delimiter"):
        return "a comma may be missing at the end of the line before"
    return None
