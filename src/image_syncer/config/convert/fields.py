"""Reads a map of another tool's file. What was never read is reported as lost, so that nothing vanishes silently."""

from collections.abc import Iterator, Mapping
from typing import Final

from image_syncer.config.convert.conversion import Conversion
from image_syncer.config.documents.node import ListNode, MapNode, Node, Scalar, describe
from image_syncer.config.documents.problems import error_at
from image_syncer.errors import ConfigError
from image_syncer.structs import Struct, field

_TRUE: Final = frozenset({"true", "yes", "on"})
_EMPTY: Final = frozenset({"", "0", "false"})


class Fields(Struct, frozen=False):
    """The entries of *node*, which is at *path* in the file; `ConfigError` for values of another shape."""

    node: MapNode
    conversion: Conversion
    path: str = ""
    _read: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, node: Node, conversion: Conversion, path: str = "") -> "Fields":
        """Return the entries of *node*; `ConfigError` if it is no map. A map without entries may be `nothing`."""
        if isinstance(node, Scalar) and node.kind == "null":
            return cls(MapNode((), node.line), conversion, path)
        if not isinstance(node, MapNode):
            raise _wrong(node, "a map", conversion, path)
        return cls(node, conversion, path)

    def node_of(self, key: str) -> Node:
        """Return *key* with its place, or the map without it."""
        entry = self.node.find(key)
        return self.node if entry is None else entry.key

    @property
    def line(self) -> int:
        """The line where the map begins."""
        return self.node.entries[0].key.line if self.node.entries else self.node.line

    def line_of(self, key: str) -> int:
        """Return the line of *key*, or that of the map."""
        entry = self.node.find(key)
        return self.line if entry is None else entry.key.line

    def get(self, key: str) -> Node | None:
        """Return the value of *key*; None if it is absent or has no value."""
        self._read.add(key)
        entry = self.node.find(key)
        if entry is None or (isinstance(entry.value, Scalar) and entry.value.kind == "null"):
            return None
        return entry.value

    def text(self, key: str) -> str | None:
        """Return the text or number at *key*; None if it is absent or empty."""
        node = self.get(key)
        return None if node is None else self._scalar(node, key).text.strip() or None

    def required(self, key: str) -> str:
        """Return the text at *key*; `ConfigError` if it is absent."""
        text = self.text(key)
        if text is None:
            raise error_at(f"{self.path or 'the file'}: {key} is missing", self.conversion.file, self.node)
        return text

    def truth(self, key: str) -> bool | None:
        """Return whether *key* is true; None if it is absent."""
        node = self.get(key)
        return None if node is None else self._scalar(node, key).text.lower() in _TRUE

    def texts(self, key: str) -> list[str]:
        """Return the texts of the list at *key*, or its one text."""
        node = self.get(key)
        if node is None:
            return []
        items = node.items if isinstance(node, ListNode) else (node,)
        return [self._scalar(item, key).text for item in items]

    def section(self, key: str) -> "Fields":
        """Return the map at *key*; an empty one if it is absent."""
        node = self.get(key)
        return Fields.of(MapNode((), self.line) if node is None else node, self.conversion, self._at(key))

    def sections(self, key: str) -> list["Fields"]:
        """Return the maps of the list at *key*."""
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node, ListNode):
            raise _wrong(node, "a list", self.conversion, self._at(key))
        return [Fields.of(item, self.conversion, f"{self._at(key)}[{at}]") for at, item in enumerate(node.items)]

    def names(self) -> Iterator[str]:
        """Yield all keys."""
        return (entry.key.text for entry in self.node.entries)

    def skip(self, *keys: str) -> None:
        """Take *keys* as read: they say nothing about what is copied."""
        self._read.update(keys)

    def note(self, *keys: str, why: str) -> None:
        """Take *keys* as read; if one has a value, note *why* the native file does not need it."""
        for key in keys:
            if self.get(key) is not None and not self._is_empty(key):
                self.conversion.note(self.line_of(key), f"{self._at(key)}: {why}")

    def lose(self, *keys: str, why: str) -> None:
        """Take *keys* as read; if one has a value, report it as lost because of *why*."""
        for key in keys:
            if self.get(key) is not None and not self._is_empty(key):
                self.conversion.lose(self.line_of(key), f"{self._at(key)}: {why}")

    def finish(self, known: Mapping[str, str] | None = None) -> None:
        """Report all keys that were not read as lost; *known* has the reasons for some."""
        for key in self.names():
            if key not in self._read:
                self.lose(key, why=(known or {}).get(key, "image-syncer has nothing like it"))

    def _scalar(self, node: Node, key: str) -> Scalar:
        if not isinstance(node, Scalar):
            raise _wrong(node, "a text", self.conversion, self._at(key))
        return node

    def _is_empty(self, key: str) -> bool:
        node = self.get(key)
        match node:
            case Scalar():
                return node.text.lower() in _EMPTY
            case ListNode():
                return not node.items
            case MapNode():
                return all(isinstance(entry.value, Scalar) and entry.value.kind == "null" for entry in node.entries)
            case None:
                return True

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _wrong(node: Node, wanted: str, conversion: Conversion, path: str) -> ConfigError:
    message = f"{path or 'the file'}: expected {wanted}, found {describe(node)}"  # The value may be a password.
    return error_at(message, conversion.file, node)
