"""Evaluates the simple expressions of Helm templates: values, defaults and `printf`; no helpers, no control flow."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from image_syncer.image_sources.foreign_yaml import Value, ValueMap
from image_syncer.structs import Struct, field

_EXPRESSION: Final = re.compile(r"\{\{-?([^{}]*)\}\}")
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<path>\$?\.[A-Za-z_][\w.]*)|(?P<context>[$.])|(?P<word>[A-Za-z_]\w*|-?\d+)"""
    r"""|(?P<sign>[()|]))\s*"""
)
_VERB: Final = re.compile(r"%([%svdq])")
_DEPTH_LIMIT: Final = 8
_LENGTH_LIMIT: Final = 1024
_TOKENS_LIMIT: Final = 100


class Unresolved(ValueError):
    """The expression needs more than this module can evaluate, or a value that is not set."""


class TemplateScope(Struct):
    """What expressions can read: `.Values` and `.Chart`."""

    values: ValueMap
    chart: Mapping[str, str] = field(default_factory=dict[str, str])

    def render(self, text: str, depth: int = 0) -> str:
        """Return *text* with its expressions replaced by their values; `Unresolved`."""
        if depth > _DEPTH_LIMIT or len(text) > _LENGTH_LIMIT:
            raise Unresolved
        filled = _EXPRESSION.sub(
            lambda match: _text(_Evaluation(self, match[1].strip().removesuffix("-").strip(), depth).result()), text
        )
        if "{{" in filled:
            raise Unresolved
        return filled

    def lookup(self, path: str) -> Value:
        """Return the value at *path*, such as `.Values.image.tag`; None without one, `Unresolved` for other roots."""
        root, *steps = path.lstrip("$").lstrip(".").split(".")
        found: Value
        if root == "Chart" and len(steps) == 1:
            return self.chart.get(steps[0].lower())
        if root != "Values":
            raise Unresolved
        found = self.values
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        return found


class _Evaluation:
    """One expression: a pipeline of commands."""

    def __init__(self, scope: TemplateScope, text: str, depth: int) -> None:
        self._scope = scope
        self._depth = depth
        self._tokens = _tokens(text)
        self._at = 0

    def result(self) -> Value:
        """Return the value of the whole expression; `Unresolved`."""
        value = self._pipeline()
        if self._at < len(self._tokens):
            raise Unresolved
        return value

    def _pipeline(self) -> Value:
        value = self._command([])
        while self._next() == ("sign", "|"):
            self._at += 1
            value = self._command([value])
        return value

    def _command(self, piped: list[Value]) -> Value:
        kind, text = self._next()
        if kind == "word" and not text.lstrip("-").isdigit():
            self._at += 1
            return self._call(text, [*self._operands(), *piped])
        operands = self._operands()
        if len(operands) != 1 or piped:
            raise Unresolved
        return operands[0]

    def _operands(self) -> list[Value]:
        operands: list[Value] = []
        while True:
            kind, text = self._next()
            if kind == "sign" and text == "(":
                self._at += 1
                operands.append(self._pipeline())
                if self._next() != ("sign", ")"):
                    raise Unresolved
            elif kind == "text":
                operands.append(_unquoted(text))
            elif kind == "path":
                operands.append(self._scope.lookup(text))
            elif kind == "word":
                operands.append(text)
            elif kind == "context":  # `$` and `.` are no texts; only `tpl` takes them.
                operands.append(None)
            else:
                return operands
            self._at += 1

    def _call(self, name: str, arguments: list[Value]) -> Value:
        if name == "tpl" and arguments:
            return self._scope.render(_text(arguments[0]), self._depth + 1)
        function = _FUNCTIONS.get(name)
        if function is None or not arguments:
            raise Unresolved
        try:
            return function(arguments)
        except (IndexError, TypeError) as error:
            raise Unresolved from error

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(tokens) >= _TOKENS_LIMIT:
            raise Unresolved
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        at = match.end()
    return tokens


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] == "`" else re.sub(r"\\(.)", r"\1", text[1:-1])


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise Unresolved
    return value


def _default(arguments: Sequence[Value]) -> Value:
    fallback, value = arguments
    return value or fallback


def _first_set(arguments: Sequence[Value]) -> Value:
    return next((value for value in arguments if value), None)


def _printf(arguments: Sequence[Value]) -> str:
    rest = list(arguments[1:])

    def verb(match: re.Match[str]) -> str:
        return "%" if match[1] == "%" else _text(rest.pop(0))

    filled = _VERB.sub(verb, _text(arguments[0]))
    if rest:
        raise Unresolved
    return filled


_FUNCTIONS: Final[Mapping[str, Callable[[Sequence[Value]], Value]]] = {
    "coalesce": _first_set,
    "default": _default,
    "lower": lambda arguments: _text(arguments[-1]).lower(),
    "printf": _printf,
    "quote": lambda arguments: _text(arguments[-1]),
    "required": lambda arguments: arguments[1],
    "squote": lambda arguments: _text(arguments[-1]),
    "toString": lambda arguments: _text(arguments[-1]),
    "trim": lambda arguments: _text(arguments[-1]).strip(),
    "trimPrefix": lambda arguments: _text(arguments[1]).removeprefix(_text(arguments[0])),
    "trimSuffix": lambda arguments: _text(arguments[1]).removesuffix(_text(arguments[0])),
}
