"""Parsed documents: scalars, lists and maps with their places. The YAML and the JSON parser both return them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from image_syncer.errors import UsageError
from image_syncer.structs import Struct, field

DEPTH_LIMIT: Final = 32
"""Deepest nesting of lists and maps; configuration files need four levels."""

NODE_LIMIT: Final = 1_000_000
"""Most values of a file; an alias counts as all values of its anchor."""

_SHOWN_CHARACTERS: Final = 200
_SCANNED_ENTRIES: Final = 16

Kind = Literal["text", "number", "truth", "null", "variable"]
"""Kind of a scalar. "variable" is a text in which variables were replaced."""

_KIND_NAMES: Final[Mapping[Kind, str]] = {
    "text": "a text",
    "number": "a number",
    "truth": "true or false",
    "null": "nothing",
    "variable": "a text",
}


class Scalar(Struct):
    """A single value: its *text* in the file, and its *kind* by the rules of the syntax. Places count from 1."""

    text: str
    kind: Kind
    line: int
    column: int = field(default=1, compare=False)


class ListNode(Struct):
    """Values in order; *line* and *column* are where the list begins."""

    items: tuple["Node", ...]
    line: int
    column: int = field(default=1, compare=False)


class MapEntry(Struct):
    """One `key: value` of a map."""

    key: Scalar
    value: "Node"


class MapNode(Struct):
    """Entries in order, with unique keys; *line* and *column* are where the map begins."""

    entries: tuple[MapEntry, ...]
    line: int
    column: int = field(default=1, compare=False)
    _index: dict[str, MapEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {})

    def find(self, key: str) -> MapEntry | None:
        """Return the entry of *key*; the first call indexes a large map, so that many calls stay linear."""
        if len(self.entries) <= _SCANNED_ENTRIES:
            return next((entry for entry in self.entries if entry.key.text == key), None)
        if not self._index:
            self._index.update((entry.key.text, entry) for entry in self.entries)
        return self._index.get(key)


Node = Scalar | ListNode | MapNode


class DocumentError(UsageError):
    """The text is no valid document; *line* and *column* are 1-based."""

    def __init__(self, message: str, line: int, column: int | None = None, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.line = line
        self.column = column


def map_node(entries: Iterable[MapEntry], line: int, column: int = 1) -> MapNode:
    """Return a map of *entries*; `DocumentError` for a duplicate key."""
    first: dict[str, MapEntry] = {}
    for entry in entries:
        earlier = first.setdefault(entry.key.text, entry)
        if earlier is not entry:
            raise DocumentError(
                f"duplicate key {quoted(entry.key.text)}, first in line {earlier.key.line}",
                entry.key.line,
                entry.key.column,
                remedy="keep one of them; write several values of a key as a list",
            )
    return MapNode(tuple(first.values()), line, column)


def join_surrogates(text: str, line: int) -> str:
    r"""Return *text* with surrogate pairs such as `\ud83d\ude00` joined; `DocumentError` for a lone surrogate."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise DocumentError("a lone surrogate, which is no character", line) from error


def describe(node: Node) -> str:
    """Return the kind of *node* in words, never its value."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a map"
        case Scalar():
            return _KIND_NAMES[node.kind]


def quoted(text: str) -> str:
    """Return *text* in quotes, cut after 200 characters."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")


def unknown_key(key: Scalar, known: Sequence[str]) -> UsageError:
    """Return the error for a *key* that is not in *known*."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors

    near = get_close_matches(key.text.lower(), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    return UsageError(f"unknown key {quoted(key.text)}", remedy=remedy)
