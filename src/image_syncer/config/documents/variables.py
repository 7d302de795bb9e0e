"""Replace the variables in all values of a document."""

from collections.abc import Callable
from operator import is_

from image_syncer.config.documents.node import ListNode, MapEntry, MapNode, Node, Scalar
from image_syncer.config.documents.parts import Step
from image_syncer.config.documents.problems import Problems
from image_syncer.errors import ConfigError

ValueOf = Callable[[str, tuple[Step, ...]], str]


class VariableReplacer:
    """Replaces variables by *value_of*, which gets the text and the path of a value.

    Values that it refuses with a `ConfigError` stay; the errors are collected in *problems*, the paths in `broken`.
    """

    def __init__(self, value_of: ValueOf, problems: Problems) -> None:
        self._value_of = value_of
        self._problems = problems
        self._path: list[Step] = []
        self.broken: list[tuple[Step, ...]] = []

    def replaced(self, root: MapNode) -> MapNode:
        """Return *root* with the variables of all values replaced: the same object if it has none."""
        entries = [self._entry(entry) for entry in root.entries]
        is_same = all(map(is_, entries, root.entries))
        return root if is_same else MapNode(tuple(entries), root.line, root.column)

    def _entry(self, entry: MapEntry) -> MapEntry:
        value = self._below(entry.value, entry.key.text)
        return entry if value is entry.value else MapEntry(entry.key, value)

    def _below(self, node: Node, step: Step) -> Node:
        self._path.append(step)
        value = self._value(node)
        self._path.pop()
        return value

    def _value(self, node: Node) -> Node:
        match node:
            case MapNode():
                return self.replaced(node)
            case ListNode():
                items = [self._below(item, number) for number, item in enumerate(node.items)]
                is_same = all(map(is_, items, node.items))
                return node if is_same else ListNode(tuple(items), node.line, node.column)
            case Scalar():
                return self._scalar(node) if "$" in node.text else node

    def _scalar(self, node: Scalar) -> Scalar:
        path = tuple(self._path)
        try:
            filled = self._value_of(node.text, path)
        except ConfigError as error:
            self._problems.add(error, error.file)
            self.broken.append(path)
            return node
        return node if filled == node.text else Scalar(filled, "variable", node.line, node.column)
