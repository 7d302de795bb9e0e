"""YAML 1.2 to nodes.

It reads parser events, so that depth and aliases are bounded before the document grows. Messages never quote the file,
since an error may be inside a password.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.reader import ReaderError

from image_syncer.config.documents.node import (
    DEPTH_LIMIT,
    NODE_LIMIT,
    DocumentError,
    Kind,
    ListNode,
    MapEntry,
    MapNode,
    Node,
    Scalar,
    join_surrogates,
    map_node,
)
from image_syncer.config.documents.yaml_scanner import CachedParser, PositionReader, TabScanner

_TEXT_TAG = "tag:yaml.org,2002:str"
_KNOWN_TAGS = frozenset({_TEXT_TAG, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_QUOTED = re.compile(r"'[^'<>]{2,}'|\"[^\"]{2,}\"")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# YAML 1.1 has these words for true and false. The Go tool reads them, so files may contain them.
_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off"})
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")


_LENIENT_DEPTH = 64


def parse_yaml(text: str, *, lenient: bool = False) -> Node | None:
    """Return the document of *text*, None if there is none; `DocumentError` with the line if it is no YAML.

    *lenient* is for files of other tools: it ignores tags, takes the last one of duplicate keys, and allows 64 levels.
    """
    parser: Any = YAML(typ="safe", pure=True)
    parser.Reader, parser.Scanner, parser.Parser = PositionReader, TabScanner, CachedParser
    events: Any = parser.parse(text)
    reader = _Reader(events, lenient=lenient)
    try:
        with closing(events):
            return reader.document()
    except YAMLError as error:
        raise _malformed(error, text) from None
    except (ValueError, OverflowError):
        # ruamel.yaml raises these for escapes beyond Unicode, without a place: take that of the value before.
        raise DocumentError(
            "not YAML: an escape that names no character", reader.line, reader.column, remedy=r"look for \U"
        ) from None


def _malformed(error: YAMLError, text: str) -> DocumentError:
    position: Any = getattr(error, "position", None)
    if isinstance(error, ReaderError) and isinstance(position, int):
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        return DocumentError(
            "not YAML: a control character", line, column, remedy=r'write it as "\x07" in double quotes'
        )
    problem = str(getattr(error, "problem", None) or "broken")
    # An error about a missing end is reported at the begin; others where the parser noticed them.
    names = ("context_mark", "problem_mark") if problem.endswith("end of stream") else ("problem_mark", "context_mark")
    mark: Any = getattr(error, names[0], None) or getattr(error, names[1], None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, None)
    text_without_values = _QUOTED.sub("...", problem)
    return DocumentError(
        f"not YAML: {text_without_values}", line, column, remedy="a value with special characters needs quotes"
    )


class _Reader:
    """Builds a node from the events of one stream."""

    def __init__(self, events: Iterator[Any], *, lenient: bool) -> None:
        self._events = events
        self._lenient = lenient
        self._depth = _LENIENT_DEPTH if lenient else DEPTH_LIMIT
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0
        self._texts: dict[str, str] = {}
        self.line = self.column = 1

    def document(self) -> Node | None:
        """Return the only document, None if the stream is empty."""
        found: Node | None = None
        for event in self._events:
            match event:
                case StreamStartEvent() | StreamEndEvent() | DocumentEndEvent():
                    continue
                case DocumentStartEvent() if found is not None:
                    raise DocumentError(
                        "a second document begins here", *_place(event), remedy="one file holds one document"
                    )
                case DocumentStartEvent():
                    continue
                case _:
                    found = self._node(event, 0)
        return found

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._count
        self._count_values(1, event)
        if event.tag is not None and event.tag not in _KNOWN_TAGS and not self._lenient:
            raise DocumentError(
                "YAML tags are not supported", *_place(event), remedy="quote a value that begins with '!'"
            )
        if depth > self._depth:
            raise DocumentError(f"nested deeper than {self._depth} levels", *_place(event))
        node = self._content(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _content(self, event: Any, depth: int) -> Node:
        match event:
            case SequenceStartEvent():
                return ListNode(
                    tuple(self._node(item, depth + 1) for item in self._until(SequenceEndEvent)), *_place(event)
                )
            case MappingStartEvent():
                return self._map(event, depth)
            case _:
                return self._scalar(event)

    def _map(self, event: Any, depth: int) -> MapNode:
        entries: list[MapEntry] = []
        merged: list[MapEntry] = []
        for item in self._until(MappingEndEvent):
            key = self._node(item, depth + 1)
            if not isinstance(key, Scalar):
                raise DocumentError(
                    "a key that is a list or a map", *_place(item), remedy="quote a key with special characters"
                )
            value = self._node(next(self._events), depth + 1)
            if key.text == "<<" and not _is_quoted(item):
                merged.extend(_merged(value))
            else:
                entries.append(MapEntry(key, value))
        if self._lenient:
            entries = list({entry.key.text: entry for entry in entries}.values())
        direct = map_node(entries, *_place(event))
        if not merged:
            return direct
        # YAML's merge key: the map's own entries win, then those of earlier merged maps.
        united: dict[str, MapEntry] = {}
        for entry in (*direct.entries, *merged):
            united.setdefault(entry.key.text, entry)
        return MapNode(tuple(united.values()), direct.line, direct.column)

    def _scalar(self, event: Any) -> Scalar:
        line, column = _place(event)
        text = join_surrogates(event.value, line)
        plain = event.tag is None and not _is_quoted(event)
        # One object for equal texts, and one for equal lines: a file of many rules repeats both.
        self.line = line = self.line if line == self.line else line
        return Scalar(self._texts.setdefault(text, text), _kind(text) if plain else "text", line, column)

    def _alias(self, event: Any) -> Node:
        known = self._anchors.get(event.anchor)
        if known is None:
            raise DocumentError(
                "an alias without an anchor before it",
                *_place(event),
                remedy="quote a value that begins with '*'",
            )
        node, count = known
        self._count_values(count, event)
        return node

    def _until(self, end: type) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _count_values(self, count: int, event: Any) -> None:
        self._count += count
        self.line, self.column = _place(event)
        if self._count > NODE_LIMIT:
            raise DocumentError(
                f"more than {NODE_LIMIT} values (an alias counts as all values of its anchor)", *_place(event)
            )


def _merged(value: Node) -> Iterator[MapEntry]:
    for part in value.items if isinstance(value, ListNode) else (value,):
        if not isinstance(part, MapNode):
            raise DocumentError("'<<' needs a map or a list of maps", value.line, value.column)
        yield from part.entries


def _is_quoted(event: Any) -> bool:
    return bool(event.style)


def _kind(text: str) -> Kind:
    if text in _NULLS:
        return "null"
    if text.lower() in _TRUTHS:
        return "truth"
    return "number" if _NUMBER.fullmatch(text) else "text"


def _place(event: Any) -> tuple[int, int]:
    """Return the line and the column where *event* begins."""
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
