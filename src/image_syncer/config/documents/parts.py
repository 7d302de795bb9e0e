"""The files that make up one configuration: where each section and each item of it comes from."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Self

Step = str | int


class LocalNumber(int):
    """The number of an item in the whole list; as a text, its number in the file that has it."""

    shown: int

    def __new__(cls, number: int, shown: int) -> Self:
        """Return *number*, which messages show as *shown*."""
        created = super().__new__(cls, number)
        created.shown = shown
        return created

    def __str__(self) -> str:
        return str(self.shown)

    __repr__ = __str__


class Parts:
    """The origins of sections and items; empty for a single file."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], str] = {}
        self._starts: dict[str, list[int]] = {}
        self._files: dict[str, list[str]] = {}

    def add_key(self, file: str, *path: str) -> None:
        """Note that *file* has the section or the item at *path*."""
        self._keys[path] = file

    def add_items(self, file: str, section: str, start: int) -> None:
        """Note that *file* has the items of the list *section* from *start* to the start of the next file."""
        self._starts.setdefault(section, []).append(start)
        self._files.setdefault(section, []).append(file)

    def file_of(self, path: Sequence[Step]) -> str | None:
        """Return the file that has *path*; None if that is the main file."""
        match path:
            case [str(section), int(number), *_] if section in self._starts:
                return self._files[section][bisect_right(self._starts[section], number) - 1]
            case [str(section), str(key), *_] if (section, key) in self._keys:
                return self._keys[section, key]
            case [str(section), *_]:
                return self._keys.get((section,))
            case _:
                return None

    def number(self, section: str, number: int) -> int:
        """Return *number*, an index of the list *section*, so that messages show its number in its own file."""
        starts = self._starts.get(section)
        if starts is None:
            return number
        return LocalNumber(number, number - starts[bisect_right(starts, number) - 1])

    def path(self, path: Sequence[Step]) -> tuple[Step, ...]:
        """Return *path* with the number of its item as in its own file."""
        match path:
            case [str(section), int(number), *rest]:
                return (section, self.number(section, number), *rest)
            case _:
                return tuple(path)
