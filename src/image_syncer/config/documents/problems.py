"""Collects the problems of one configuration, so that a user can correct them all at once."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from image_syncer.errors import ConfigError, UsageError

SHOWN: Final = 20
"""Most problems that are listed; the others are counted."""


class Problems:
    """The collected errors."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextmanager
    def collect_at(self, file: str, line: int | None = None) -> Generator[None]:
        """Collect a `UsageError` of the block, with *file* and *line* unless it has its own, and continue after it."""
        try:
            yield
        except ConfigError as error:
            self._found.append(error)
        except UsageError as error:
            self._found.append(ConfigError(error.message, file=file, line=line, remedy=error.remedy))

    def raise_found(self) -> None:
        """Raise one `ConfigError` with all collected errors, one `file:line:` each; return if there are none."""
        if not self._found:
            return
        first, *others = self._found
        if not others:
            raise first
        where = first.file if first.line is None else f"{first.file}:{first.line}"
        lines = [str(first).removeprefix(f"{where}: "), *map(str, others)]
        if len(lines) > SHOWN:
            lines[SHOWN - 1 :] = [f"and {len(lines) - SHOWN + 1} more problems"]
        raise ConfigError("\n".join(lines), file=first.file, line=first.line)
