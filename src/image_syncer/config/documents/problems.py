"""Collects the problems of one configuration, so that a user can correct them all at once."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from image_syncer.config.documents.node import Node
from image_syncer.errors import ConfigError, UsageError

SHOWN: Final = 20
"""Most problems that are listed; the others are counted."""


class ConfigErrors(ConfigError):
    """Several *errors* of one configuration; its text has a line for each, up to 20."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first, *others = errors
        lines = [_with_remedy(first), *map(str, others)]
        if len(lines) > SHOWN:
            lines[SHOWN - 1 :] = [f"and {len(lines) - SHOWN + 1} more problems"]
        super().__init__("\n".join(lines), file=first.file, line=first.line, column=first.column)
        self.errors = tuple(errors)


class Problems:
    """The collected errors."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @property
    def count(self) -> int:
        """The number of errors so far."""
        return len(self._found)

    @contextmanager
    def collect_at(self, file: str, at: Node | None = None) -> Generator[None]:
        """Collect a `UsageError` of the block, with the place of *at* unless it has its own, and continue after it."""
        try:
            yield
        except UsageError as error:
            self.add(error, file, at)

    def add(self, error: UsageError, file: str, at: Node | None = None) -> None:
        """Collect *error*, with *file* and the place of *at* unless it has its own."""
        if not isinstance(error, ConfigError):
            error = error_at(error.message, file, at, remedy=error.remedy)
        self._found.append(error)

    def raise_found(self) -> None:
        """Raise one `ConfigError` with all collected errors, each with its place; return if there are none."""
        if not self._found:
            return
        found = {error.message: error for error in self._found}  # Rules share what `defaults:` gives them.
        files = list(dict.fromkeys(error.file for error in found.values()))
        errors = sorted(found.values(), key=lambda error: (files.index(error.file), error.line or 0, error.column or 0))
        raise errors[0] if len(errors) == 1 else ConfigErrors(errors)


def error_at(message: str, file: str, at: Node | None, *, remedy: str | None = None) -> ConfigError:
    """Return the error *message* at the place of the node *at* in *file*; None is the file as a whole."""
    line, column = (None, None) if at is None else (at.line, at.column)
    return ConfigError(message, file=file, line=line, column=column, remedy=remedy)


def _with_remedy(error: ConfigError) -> str:
    """Return *error* without its place."""
    return str(error).removeprefix(error.message.removesuffix(error.problem))
