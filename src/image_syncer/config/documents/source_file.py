"""Validate nodes with strict models: pydantic finds the problems, the nodes have the places. Values are not quoted."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from image_syncer.config.documents.key_hints import key_remedy, models_in
from image_syncer.config.documents.node import ListNode, MapNode, Node, Scalar, describe, quoted
from image_syncer.config.documents.parts import Parts, Step
from image_syncer.config.documents.problems import Problems, error_at
from image_syncer.config.documents.used_fields import keys_of, reduced, reduced_item
from image_syncer.config.documents.variables import VariableReplacer
from image_syncer.config.documents.written_text import replaced_texts, show_written
from image_syncer.config.environment import Substitution
from image_syncer.config.native.native_values import ReplacedText
from image_syncer.errors import ConfigError, UsageError

Value = TypeVar("Value")
Model = TypeVar("Model", bound=BaseModel)

_TRUE: Final = frozenset({"true", "yes", "on"})
_SHAPES: Final = {
    "string_type": "a text",
    "int_type": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
}

_WRONG_TYPE: Final = frozenset({*_SHAPES, "bool_parsing", "bool_type"})
_OTHER_TYPE: Final = _WRONG_TYPE | {"missing", "extra_forbidden"}

_BOUNDS: Final = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "empty",
    "string_too_long": "longer than {max_length} characters",
    "too_short": "an empty list",
    "too_long": "more than {max_length} values",
    "string_pattern_mismatch": "invalid characters; it must match {pattern}",
}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that is being read: its nodes, the values of variables, and the problems found so far."""

    file: str
    root: MapNode
    substitution: Substitution = field(repr=False)
    problems: Problems = field(repr=False)
    parts: Parts = field(default_factory=Parts, repr=False)
    written: MapNode | None = field(default=None, repr=False)
    """The nodes before their variables were replaced; None: they still have them."""
    broken: Sequence[tuple[Step, ...]] = field(default=(), repr=False)
    """Values whose variables have no value."""
    _kept: dict[str, list[int]] = field(default_factory=dict[str, list[int]], repr=False)
    _item_models: dict[str, type[BaseModel]] = field(default_factory=dict[str, type[BaseModel]], repr=False)

    def validate(self, model: type[Model], items: Sequence[str] = ()) -> Model:
        """Return the file as *model*; one `ConfigError` with all problems of its structure.

        With *items*, the sections that hold independent items, broken items and sections are collected and left out,
        so that the caller can check the others in the same round.
        """
        data = _plain(self.root)
        paths = [*self.broken]
        if not paths:
            with suppress(ValidationError):  # The whole model says what is wrong.
                return reduced(model, data).model_validate(data)
        try:
            valid = model.model_validate(data)
            if not paths:
                return valid
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            for detail, path in _one_of_each_union([(one, _walk(self.root, one["loc"])[2]) for one in details]):
                if path not in self.broken:
                    paths.append(path)
                    self._note(detail, model)
        if not items or any(path[:1] in {(), ("version",)} for path in paths):
            self.problems.raise_found()
        for path in paths:
            self._leave_out(data, path, items)
        for section in self._kept:
            data[section] = [data[section][number] for number in self._kept[section]]
        return model.model_validate(data)

    def number(self, section: str, index: int) -> int:
        """Return the position in the file of the item at *index* in a validated list."""
        return self.parts.number(section, self._position(section, index))

    def item(self, section: str, index: int, model: type[Model]) -> Model:
        """Return the item at *index* in a validated list of `Checked` items."""
        entry = self.root.find(section)
        if entry is None or not isinstance(entry.value, ListNode):
            raise TypeError(f"{section} is no list")
        if section not in self._item_models:
            keys = (_keys_of(item) for item in entry.value.items)
            self._item_models[section] = reduced_item(model, keys_of(keys))
        reader = cast("type[Model]", self._item_models[section])
        return reader.model_validate(_plain(entry.value.items[self._position(section, index)]))

    def _position(self, section: str, index: int) -> int:
        return self._kept[section][index] if section in self._kept else index

    def line_of(self, *path: Step) -> int:
        """Return the line of the value at *path*, or of the nearest value around it if there is none."""
        return self._at(*path).line

    def location(self, *path: Step) -> str:
        """Return `file:line` of *path*."""
        return f"{self.file_of(*path)}:{self.line_of(*path)}"

    def file_of(self, *path: Step) -> str:
        """Return the file that has *path*: the main one or an included one."""
        return self.parts.file_of(path) or self.file

    def relative(self, location: str, *path: Step) -> str:
        """Return `line 3` for a *location* in the same file as *path*, else *location* as it is."""
        file, _, line = location.rpartition(":")
        return f"line {line}" if file == self.file_of(*path) else location

    def replace_variables(self) -> Self:
        """Return the file with all variables replaced; problems are collected, and `validate` leaves them out."""
        replacer = VariableReplacer(self._value_of, self.problems)
        return replace(self, root=replacer.replaced(self.root), written=self.root, broken=replacer.broken)

    def text_in_file(self, *path: Step) -> str:
        """Return the text at *path* as the file has it, with its variables."""
        node = _walk(self.written or self.root, path)[0]
        return node.text if isinstance(node, Scalar) else ""

    @contextmanager
    def collect_at(self, *path: Step) -> Generator[None]:
        """Collect a `UsageError` of the block with the place of *path*, and continue after the block."""
        try:
            yield
        except UsageError as error:
            self._collect(error, path)

    def attempt(self, make: Callable[[], Value], *path: Step) -> Value | None:
        """Return the result of *make*; None after a `UsageError`, which is collected with the place of *path*."""
        # The place is looked up after an error only, since a file may have many thousand values.
        try:
            return make()
        except UsageError as error:
            self._collect(error, path)
            return None

    def _collect(self, error: UsageError, path: Sequence[Step], at: Node | None = None) -> None:
        """Collect *error* about the value at *path*, with the texts of its item as the file has them."""
        if self.written is not None:
            roots = [_walk(self.written, path[:2])[0]] if path else []
            if (defaults := self.written.find("defaults")) is not None:
                roots.append(defaults.value)
            self.substitution.files.directory = Path(self.file_of(*path)).parent
            error = show_written(error, replaced_texts(roots, self.substitution))
        self.problems.add(error, self.file_of(*path), at or self._at(*path))

    def substitute(self, value: str | SecretStr, *path: Step) -> str:
        """Return *value* with its variables replaced; `ConfigError`, which hides the value, for an unset one.

        Only a login of a registry may have bytes that are not UTF-8: they are sent as they are.
        """
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return self._value_of(text, path) if self.written is None else text

    def _value_of(self, text: str, path: tuple[Step, ...]) -> str:
        """Return *text* with its variables replaced; files are relative to the file that has *path*."""
        files = self.substitution.files
        files.directory = Path(self.file_of(*path)).parent
        try:
            filled = self.substitution.apply(text)
        except UsageError as error:
            raise self.error_at(error.message, path, error.remedy) from None
        if not filled:
            raise self.error_at("empty after its variables are replaced", path)
        if path[:1] != ("registries",) and not _is_utf8(filled):
            raise self.error_at("the value of its variable is not UTF-8", path)
        return filled

    def error_at(self, message: str, path: tuple[Step, ...], remedy: str | None = None) -> ConfigError:
        """Return the error *message* about the value at *path*."""
        shown = self.parts.path(path)
        return error_at(f"{path_text(shown)}: {message}", self.file_of(*path), self._at(*path), remedy=remedy)

    def _at(self, *path: Step) -> Node:
        return _walk(self.root, path)[1]

    def _leave_out(self, data: dict[str, Any], path: Sequence[Step], items: Sequence[str]) -> None:
        section = str(path[0])
        content = data.get(section)
        if section not in items or len(path) == 1 or content is None:
            data.pop(section, None)
            self._kept.pop(section, None)
        elif isinstance(content, list):
            kept = self._kept.setdefault(section, list(range(len(cast("list[Any]", content)))))
            if path[1] in kept:
                kept.remove(path[1])
        else:
            content.pop(path[1], None)

    def _note(self, detail: ErrorDetails, model: type[BaseModel]) -> None:
        node, at, path = _walk(self.root, detail["loc"])
        self._collect(_problem(detail, node, self.parts.path(path), model), path, at)


def _keys_of(node: Node) -> Collection[str]:
    return {entry.key.text for entry in node.entries} if isinstance(node, MapNode) else ()


def _is_utf8(text: str) -> bool:
    """Whether *text* has no surrogates, which stand for other bytes of an environment variable."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def path_text(path: Sequence[Step]) -> str:
    """Return *path* as text: `rules[0].targets[1]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in path)
    return text.removeprefix(".") or "the file"


def _plain(node: Node) -> Any:
    """Return *node* as plain data for pydantic. A number keeps its text: the tag 1.20 is not 1.2."""
    match node:
        case MapNode():
            return {entry.key.text: _plain(entry.value) for entry in node.entries}
        case ListNode():
            return [_plain(item) for item in node.items]
        case Scalar(kind="null"):
            return None
        case Scalar(kind="truth"):
            return node.text.lower() in _TRUE
        case Scalar(kind="variable"):
            return ReplacedText(node.text)
        case Scalar():
            return node.text


def _walk(root: Node, location: Sequence[Step]) -> tuple[Node, Node, tuple[Step, ...]]:
    """Follow *location* as far as possible; return the node there, the node with its place, and the steps to it.

    The place of a value in a map is that of its key.

    Steps that exist only in pydantic, such as the name of a type, are left out.
    """
    node = at = root
    path: list[Step] = []
    for step in location:
        if isinstance(node, MapNode):
            entry = node.find(step) if isinstance(step, str) else None
            if entry is None:
                continue
            node, at = entry.value, entry.key
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = at = node.items[step]
        else:
            continue
        path.append(step)
    return node, at, tuple(path)


def _one_of_each_union(
    found: list[tuple[ErrorDetails, tuple[Step, ...]]],
) -> list[tuple[ErrorDetails, tuple[Step, ...]]]:
    """Return *found* without errors of a wrong type at a value that fits another type of its union better."""
    better = {path for detail, path in found if detail["type"] not in _OTHER_TYPE}
    return [(detail, path) for detail, path in found if path not in better or detail["type"] not in _WRONG_TYPE]


def _problem(detail: ErrorDetails, node: Node, path: Sequence[Step], model: type[BaseModel]) -> UsageError:
    location, kind = detail["loc"], detail["type"]
    if kind == "extra_forbidden":
        place = f"{path_text(path[:-1])}: " if len(path) > 1 else ""
        key = str(location[-1])
        remedy = key_remedy(key, _model_at(model, location[:-1]), model)
        return UsageError(f"{place}unknown key {quoted(key)}", remedy=remedy)
    if kind == "missing":
        return UsageError(f"{path_text(path)}: {location[-1]} is missing")
    if kind == "literal_error":
        return _not_one_of(detail, node, path)
    if kind in _BOUNDS:
        return UsageError(f"{path_text(path)}: {_BOUNDS[kind].format(**detail.get('ctx', {}))}")
    if kind in _SHAPES:
        return UsageError(
            f"{path_text(path)}: expected {_SHAPES[kind]}, found {describe(node)}", remedy=_quotes(kind, node)
        )
    if kind == "value_error":
        return UsageError(f"{path_text(path)}: {detail['ctx']['error'] if 'ctx' in detail else detail['msg']}")
    return UsageError(f"{path_text(path)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")


def _not_one_of(detail: ErrorDetails, node: Node, path: Sequence[Step]) -> UsageError:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    choices = [choice.strip(" '") for choice in expected.replace(" or ", ", ").split(",")]
    if not isinstance(node, Scalar) or node.kind == "null":
        return UsageError(f"{path_text(path)}: expected one of {', '.join(choices)}, found {describe(node)}")
    near = get_close_matches(node.text.lower(), choices, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known values: {', '.join(choices)}"
    return UsageError(f"{path_text(path)}: unknown value {quoted(node.text)}", remedy=remedy)


def _quotes(kind: str, node: Node) -> str | None:
    wanted = kind == "string_type" and isinstance(node, Scalar) and node.kind == "truth"
    return "write it in quotes" if wanted else None


def _model_at(model: type[BaseModel], location: Sequence[Step]) -> type[BaseModel]:
    """Return the section of *model* at *location*. Steps without a field, such as indexes, stay in the same section."""
    for step in location:
        for name, info in model.model_fields.items():
            if (info.alias or name) == step:
                model = next(models_in(info.annotation), model)
                break
    return model
