"""Collects the problems of one configuration, so that a user can correct them all at once."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from image_syncer.errors import ConfigError, UsageError

SHOWN: Final = 20
"""Most problems that are listed; the others are counted."""


class ConfigErrors(ConfigError):
    """Several *errors* of one configuration; its text has a line for each, up to 20."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first, *others = errors
        lines = [_text(first), *map(str, others)]
        if len(lines) > SHOWN:
            lines[SHOWN - 1 :] = [f"and {len(lines) - SHOWN + 1} more problems"]
        super().__init__("\n".join(lines), file=first.file, line=first.line)
        self.errors = tuple(errors)


class Problems:
    """The collected errors."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextmanager
    def collect_at(self, file: str, line: int | None = None) -> Generator[None]:
        """Collect a `UsageError` of the block, with *file* and *line* unless it has its own, and continue after it."""
        try:
            yield
        except UsageError as error:
            self.add(error, file, line)

    def add(self, error: UsageError, file: str, line: int | None = None) -> None:
        """Collect *error*, with *file* and *line* unless it has its own."""
        if not isinstance(error, ConfigError):
            error = ConfigError(error.message, file=file, line=line, remedy=error.remedy)
        self._found.append(error)

    def raise_found(self) -> None:
        """Raise one `ConfigError` with all collected errors, one `file:line:` each; return if there are none."""
        if not self._found:
            return
        files = list(dict.fromkeys(error.file for error in self._found))
        errors = sorted(self._found, key=lambda error: (files.index(error.file), error.line or 0))
        raise errors[0] if len(errors) == 1 else ConfigErrors(errors)


def _text(error: ConfigError) -> str:
    """Return *error* without its place."""
    place = error.file if error.line is None else f"{error.file}:{error.line}"
    return str(error).removeprefix(f"{place}: ")
