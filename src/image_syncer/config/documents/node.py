"""Parsed documents: scalars, lists and maps that know their line. YAML and JSON both end here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from image_syncer.errors import UsageError

DEPTH_LIMIT: Final = 32
"""How deep lists and maps may nest; our files need four levels."""

NODE_LIMIT: Final = 1_000_000
"""How many values a file may hold, each alias counted as all that it stands for."""

_SHOWN_CHARACTERS: Final = 200

Kind = Literal["text", "number", "truth", "null"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value: *text* as it stands in the file, and what it would be there."""

    text: str
    kind: Kind
    line: int


@dataclass(frozen=True, slots=True)
class ListNode:
    """Values in order; *line* is where the list begins."""

    items: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One `key: value` of a map."""

    key: Scalar
    value: "Node"


@dataclass(frozen=True, slots=True)
class MapNode:
    """Entries in order, no key twice; *line* is where the map begins."""

    entries: tuple[MapEntry, ...]
    line: int


Node = Scalar | ListNode | MapNode


class DocumentError(UsageError):
    """A text is no document of its kind; *line* is 1-based."""

    def __init__(self, message: str, line: int, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.line = line


def map_node(entries: Iterable[MapEntry], line: int) -> MapNode:
    """Return a map of *entries*; `Malformed` where a key stands twice."""
    first: dict[str, MapEntry] = {}
    for entry in entries:
        earlier = first.setdefault(entry.key.text, entry)
        if earlier is not entry:
            raise DocumentError(
                f"the key {quoted(entry.key.text)} stands here for the second time, after line {earlier.key.line}",
                entry.key.line,
                remedy="keep one of them; several values of one key are written as a list",
            )
    return MapNode(tuple(first.values()), line)


def join_surrogates(text: str, line: int) -> str:
    r"""Return *text* with the halves of `\ud83d\ude00` joined, as JSON means them; `Malformed` for a half alone."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise DocumentError("half of a surrogate pair, which is no character", line) from error


def describe(node: Node) -> str:
    """Return what *node* is, never its value."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a map"
        case Scalar():
            return {"text": "a text", "number": "a number", "truth": "true or false", "null": "nothing"}[node.kind]


def quoted(text: str) -> str:
    """Return *text* quoted, cut where it is very long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")


def unknown_key(key: Scalar, known: Sequence[str]) -> UsageError:
    """Return the error for a *key* that is none of *known*."""
    near = get_close_matches(key.text.lower(), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return UsageError(f"unknown key {quoted(key.text)}", remedy=remedy)
