"""Finds the files that a pattern names, with bounds: a pattern such as `/**` would otherwise walk the whole disk."""

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import Final

from image_syncer.errors import UsageError

ENTRIES_LIMIT: Final = 100_000
"""Most files and directories that one pattern looks at."""

DIRECTORIES_LIMIT: Final = 10_000
"""Most directories that one pattern lists."""

DEPTH_LIMIT: Final = 32
"""Deepest directory below the fixed beginning of a pattern."""

_ANY_DIRECTORIES: Final = "**"
_WILDCARD: Final = re.compile(r"[*?\[]")


def has_wildcards(text: str) -> bool:
    """Whether *text* is a pattern."""
    return _WILDCARD.search(text) is not None


def fixed_directory(pattern: str) -> str:
    """Return the directories before the first wildcard of *pattern*; empty without any."""
    beginning = _WILDCARD.split(pattern, maxsplit=1)[0]
    directory, slash, _ = beginning.rpartition("/")
    return directory or slash


def find_files(pattern: str, directory: str = "") -> list[str]:
    """Return the files and directories that *pattern*, relative to *directory*, names, sorted; `UsageError` if too far.

    `*`, `?` and `[...]` match within a name, `**` any directories. Wildcards match no name that begins with a dot.
    A directory that cannot be listed has no files.
    """
    text = os.path.join(directory, pattern)  # noqa: PTH118 - `Path` drops a slash at the end, which `**` needs
    fixed = directory if directory and not pattern.startswith("/") else "/" if text.startswith("/") else ""
    parts = [part for part in text.removeprefix(fixed).split("/") if part]
    return sorted(dict.fromkeys(_Walk(pattern).find(fixed, parts)))


class _Walk:
    """One search; the counts of what it has seen are over all directories."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._entries = 0
        self._listed: set[tuple[int, int, int]] = set()

    def find(self, directory: str, parts: Sequence[str], depth: int = 0) -> Iterator[str]:
        """Yield what *parts*, the rest of the pattern, name in *directory*."""
        if not parts:
            yield directory
            return
        part, rest = parts[0], parts[1:]
        if not has_wildcards(part):
            path = os.path.join(directory, part)  # noqa: PTH118 - many paths; a `Path` is slow
            if os.path.lexists(path):
                yield from self.find(path, rest, depth + 1 if depth else 0)
            return
        visible = [
            entry
            for entry in self._entries_of(directory, len(rest), depth)
            if part.startswith(".") or not entry.name.startswith(".")
        ]
        if part == _ANY_DIRECTORIES:
            yield from self.find(directory, rest, depth) if rest else (entry.path for entry in visible)
            for entry in filter(_is_directory, visible):
                yield from self.find(entry.path, parts, depth + 1)
            return
        is_wanted = re.compile(translate(part)).fullmatch
        for entry in visible:
            if is_wanted(entry.name) and (not rest or _is_directory(entry)):
                yield from self.find(entry.path, rest, depth + 1)

    def _entries_of(self, directory: str, left: int, depth: int) -> list[os.DirEntry[str]]:
        """Return the entries of *directory*; none if this part of the pattern has seen it: links may form loops."""
        found: list[os.DirEntry[str]] = []
        try:
            known = os.stat(directory or ".")  # noqa: PTH116 - as above
            key = (known.st_dev, known.st_ino, left)
            if key in self._listed:
                return []
            self._listed.add(key)
            self._check(depth)
            with os.scandir(directory or ".") as entries:
                for entry in entries:
                    found.append(entry)
                    self._entries += 1
                    self._check(depth)
        except OSError:
            return found  # As a shell does: what cannot be listed names no file.
        return found

    def _check(self, depth: int) -> None:
        """Raise `UsageError` at the first bound."""
        for count, limit, what in (
            (self._entries, ENTRIES_LIMIT, "files"),
            (len(self._listed), DIRECTORIES_LIMIT, "directories"),
            (depth, DEPTH_LIMIT, "levels of directories"),
        ):
            if count > limit:
                raise UsageError(
                    f"{self._pattern[:200]!r}: this pattern searches more than {limit} {what}",
                    remedy="begin it with the directory that has the files, such as conf.d/*.yaml",
                )


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
