"""Variables in values: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${file:PATH}`, `$NAME` and `$$`.

The Go tool replaces an unset variable by nothing, which breaks Harbor robot names such as `robot$x`. Here an unset
`$NAME` stays as written. An unset `${NAME}` is an error, since braces are intended.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from image_syncer.config.bounded_file import read_bounded
from image_syncer.errors import UsageError
from image_syncer.structs import Struct, field

FILE_LIMIT_BYTES: Final = 64 * 1024
"""Largest file of `${file:PATH}`; passwords, tokens and keys are smaller."""

_DEPTH_LIMIT: Final = 8
_FILE: Final = "file:"
_SHOWN_CHARACTERS: Final = 200
_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_BRACED: Final = re.compile(rf"(?P<name>{_NAME.pattern})(?::(?P<form>[-?])(?P<text>.*))?", re.DOTALL)
_FORMS: Final = "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:PATH}, and '$${' for a literal '${'"


class FileValues:
    """Reads the files of `${file:PATH}`, relative to *directory*; *paths* are those that were asked for."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or Path()
        self.paths: dict[str, None] = {}

    def read(self, name: str) -> str:
        """Return the content of the file *name* without the line break at its end; `UsageError`."""
        path = self.directory / name
        self.paths[str(path)] = None
        shown = repr(name[:_SHOWN_CHARACTERS])
        try:
            content = read_bounded(path, FILE_LIMIT_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
            raise UsageError(f"the file {shown} cannot be read: {reason}", remedy="check its path and mode") from None
        if len(content) > FILE_LIMIT_BYTES:
            raise UsageError(f"the file {shown} is larger than {FILE_LIMIT_BYTES // 1024} KiB")
        return content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")


class Substitution(Struct):
    """Replaces variables by their values, once: a `$` in a value is not replaced again.

    With *bare_names* it replaces `$NAME` too, and `$$` is a `$`. Without, it replaces only the forms with braces; any
    other `$` stays, and `$${` is a literal `${`.
    """

    environment: Mapping[str, str] = field(repr=False)
    bare_names: bool = True
    files: FileValues = field(default_factory=FileValues, repr=False, compare=False)

    @classmethod
    def for_file(cls, file: str, environment: Mapping[str, str], *, bare_names: bool = True) -> Self:
        """Return the substitution for values of *file*: paths in them are relative to it."""
        return cls(environment, bare_names, FileValues(Path(file).parent))

    def apply(self, text: str) -> str:
        """Return *text* with its variables replaced.

        `UsageError`, which quotes neither *text* nor a value, for an unset `${NAME}` and a file that cannot be read.
        """
        return self._expanded(text, 0) if "$" in text else text

    def variables_in(self, text: str) -> tuple[tuple[str, str], ...]:
        """Return the variables in *text* that have a value, as written, each with the value."""
        found: list[tuple[str, str]] = []
        position = 0
        while (start := text.find("$", position)) >= 0:
            try:
                value, position = self._variable_at(text, start, 0)
            except UsageError:
                position = start + 1
                continue
            if value not in {"$", text[start:position]}:
                found.append((text[start:position], value))
        return tuple(found)

    def _expanded(self, text: str, depth: int) -> str:
        if depth > _DEPTH_LIMIT:
            raise UsageError(f"variables are nested deeper than {_DEPTH_LIMIT} levels")
        pieces: list[str] = []
        position = 0
        while (start := text.find("$", position)) >= 0:
            pieces.append(text[position:start])
            piece, position = self._variable_at(text, start, depth)
            pieces.append(piece)
        return "".join([*pieces, text[position:]])

    def _variable_at(self, text: str, start: int, depth: int) -> tuple[str, int]:
        """Return the replacement for what begins with the `$` at *start*, and the position after it."""
        follows = text[start + 1 : start + 3]
        if follows.startswith("{"):
            end = _closing_brace(text, start + 2)
            return self._braced(text[start + 2 : end], depth), end + 1
        if follows == "${" or (self.bare_names and follows.startswith("$")):
            return "$", start + 2
        name = _NAME.match(text, start + 1) if self.bare_names else None
        if name is None:
            return "$", start + 1
        return self.environment.get(name[0], f"${name[0]}"), name.end()

    def _braced(self, content: str, depth: int) -> str:
        match = _BRACED.fullmatch(content)
        if match is None:
            if content.startswith(_FILE) and content != _FILE:
                return self.files.read(self._expanded(content.removeprefix(_FILE), depth + 1))
            raise UsageError("'${' without a variable name and '}'", remedy=_FORMS)
        name, form, text = match.group("name", "form", "text")
        value = self.environment.get(name)
        if form is None:
            if value is None:
                raise UsageError(f"the environment variable {name} is not set", remedy=f"set it, or write $${{{name}}}")
            return value
        if value:
            return value
        if form == "-":
            return self._expanded(text, depth + 1)
        reason = text.strip()[:_SHOWN_CHARACTERS]
        if reason:
            raise UsageError(f"the environment variable {name}: {reason}")
        raise UsageError(f"the environment variable {name} is not set or empty", remedy="set it")


def _closing_brace(text: str, start: int) -> int:
    """Return the position of the brace that closes the one before *start*; braces between them are pairs."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if not depth:
            return position
    raise UsageError("'${' without a variable name and '}'", remedy=_FORMS)
