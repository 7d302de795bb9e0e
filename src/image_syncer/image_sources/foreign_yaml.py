"""Documents of other tools as plain values: maps, lists, texts, booleans and None.

Numbers stay texts: the tag 1.20 is not 1.2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from image_syncer.config.documents.json_text import parse_json
from image_syncer.config.documents.node import DocumentError, ListNode, MapNode, Node, Scalar
from image_syncer.config.documents.yaml_text import parse_yaml
from image_syncer.errors import Refused

Value = Mapping[str, "Value"] | Sequence["Value"] | str | bool | None
"""A value of a document."""

ValueMap = Mapping[str, Value]

_SEPARATOR: Final = re.compile(r"^---(?=[ \t\r]|$)", re.MULTILINE)
_TRUE: Final = frozenset({"true", "yes", "on"})


def split_documents(text: str) -> Iterator[tuple[int, str]]:
    """Yield each document of *text* with the number of lines before it."""
    start = line = 0
    for match in _SEPARATOR.finditer(text):
        yield line, text[start : match.start()]
        line += text.count("\n", start, match.start())
        start = match.start()
    yield line, text[start:]


def parse_foreign(text: str, name: str, *, lines_before: int = 0) -> Value:
    """Return the document *text* of the file *name* as a plain value, None for an empty one; `Refused` for no YAML.

    A name that ends in `.json` is read as JSON.
    """
    try:
        node = parse_json(text) if name.endswith(".json") else parse_yaml(text, lenient=True)
    except DocumentError as error:
        raise Refused(f"{name}:{error.line + lines_before}: {error.message}", remedy=error.remedy) from None
    return None if node is None else plain(node)


def plain(node: Node) -> Value:
    """Return *node* as a plain value."""
    match node:
        case MapNode():
            return {entry.key.text: plain(entry.value) for entry in node.entries}
        case ListNode():
            return [plain(item) for item in node.items]
        case Scalar(kind="null"):
            return None
        case Scalar(kind="truth"):
            return node.text.lower() in _TRUE
        case Scalar():
            return node.text


def as_map(value: Value) -> ValueMap:
    """Return *value* if it is a map, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Value) -> Sequence[Value]:
    """Return *value* if it is a list, else an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def as_text(value: Value) -> str:
    """Return *value* without surrounding white space if it is a text, else an empty one."""
    return value.strip() if isinstance(value, str) else ""
