"""`include:` of the native file: read the files that it names, and merge their sections."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from image_syncer.config.documents.document import SUFFIXES, read_document
from image_syncer.config.documents.file_patterns import find_files, fixed_directory, has_wildcards
from image_syncer.config.documents.node import ListNode, MapEntry, MapNode, Node, Scalar, describe, quoted
from image_syncer.config.documents.parts import Parts
from image_syncer.config.documents.problems import Problems, error_at
from image_syncer.config.documents.source_file import SourceFile
from image_syncer.config.documents.written_text import replaced_texts, show_written
from image_syncer.config.environment import FileValues, Substitution
from image_syncer.errors import ConfigError, UsageError
from image_syncer.structs import Struct

FILES_LIMIT: Final = 1000
"""Most files of one configuration."""

_LISTS: Final = frozenset({"rules"})
_MAPS: Final = frozenset({"registries", "hooks", "queues"})
_EXTENSION: Final = "x-"


class _Part(Struct):
    """One file and its content."""

    file: str
    document: MapNode


def merge_native(document: MapNode, file: str, environment: Mapping[str, str]) -> SourceFile:
    """Return *document*, the content of *file*, merged with its included files; variables are not replaced.

    Files that cannot be read and duplicate keys are problems of the returned file.
    """
    files = FileValues()
    substitution = Substitution(environment, bare_names=False, files=files)
    problems = Problems()
    reader = _Reader(substitution, problems)
    reader.read(document, file)
    files.paths.update(reader.watched)
    merger = _Merger(problems, file)
    for part in reader.parts:
        merger.add(part)
    return SourceFile(file, merger.root(document), substitution, problems, merger.parts)


def directory_document(path: Path) -> MapNode:
    """Return a document that includes all files of the directory *path*; `ConfigError` if it has none."""
    if not any(_files_in(path)):
        raise ConfigError("this directory has no .yaml, .yml or .json file", file=str(path), remedy="check the path")
    texts = {"version": "1", "include": path.name.replace("${", "$${")}
    return MapNode(tuple(MapEntry(Scalar(key, "text", 1), Scalar(text, "text", 1)) for key, text in texts.items()), 1)


class _Reader:
    """Reads files and those that they include, each once."""

    def __init__(self, substitution: Substitution, problems: Problems) -> None:
        self._substitution = substitution
        self._problems = problems
        self._seen: set[Path] = set()
        self.parts: list[_Part] = []
        self.watched: dict[str, None] = {}
        """The included files, and the directories of patterns: a change of them changes the configuration."""

    def read(self, document: MapNode, file: str) -> None:
        """Add *document*, the content of *file*, and then the files that it includes."""
        self._seen.add(Path(file).resolve())
        self.parts.append(_Part(file, document))
        for node in self._included(document, file):
            paths: Sequence[Path] = ()
            with self._problems.collect_at(file, node):
                paths = self._named_by(node, Path(file).parent)
            for path in paths:
                with self._problems.collect_at(file, node):
                    self._read_once(path)

    def _named_by(self, node: Scalar, directory: Path) -> list[Path]:
        """Return the files that the text *node* of a file in *directory* names; errors show it as written."""
        try:
            return list(self._paths(self._substitution.apply(node.text), directory))
        except UsageError as error:
            raise show_written(error, replaced_texts([node], self._substitution)) from None

    def _read_once(self, path: Path) -> None:
        if path.resolve() in self._seen:
            return
        if len(self._seen) >= FILES_LIMIT:
            raise UsageError(f"include: more than {FILES_LIMIT} files")
        self._seen.add(path.resolve())  # Also a broken file counts once.
        self.watched[str(path)] = None
        self.read(read_document(path, remedy_if_empty="", may_be_empty=True), str(path))

    def _included(self, document: MapNode, file: str) -> Iterator[Scalar]:
        """Yield the texts of `include:`."""
        entry = document.find("include")
        if entry is None:
            return
        for node in entry.value.items if isinstance(entry.value, ListNode) else (entry.value,):
            if isinstance(node, Scalar) and node.kind == "text":
                yield node
            elif describe(node) != "nothing":
                remedy = "name files, patterns such as rules/*.yaml, or directories"
                self._problems.add(
                    error_at(f"include: expected a text, found {describe(node)}", file, node, remedy=remedy), file
                )

    def _paths(self, text: str, directory: Path) -> Iterator[Path]:
        """Yield the files that *text* names, in the order of their names; `UsageError` if there is no such file."""
        if not text.strip():
            raise UsageError("include: empty", remedy="write . for the directory of this file")
        path = directory / text
        if path.is_dir():
            self.watched[str(path)] = None
            yield from _files_in(path)
        elif path.is_file():
            yield path
        elif has_wildcards(text):
            self.watched[str(directory / fixed_directory(text))] = None
            yield from _configurations(find_files(text, str(directory)))
        else:
            raise UsageError(f"include: {quoted(text)}: no such file or directory", remedy="check the path")


def _files_in(directory: Path) -> Iterator[Path]:
    """Return the files in *directory*; `UsageError` if it cannot be listed, since its rules would be missing."""
    try:
        os.scandir(directory).close()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise UsageError(f"{directory}: this directory cannot be listed: {reason}", remedy="check its mode") from None
    return _configurations(find_files("*", str(directory)))


def _configurations(names: Iterable[str]) -> Iterator[Path]:
    """Yield the files among *names* that are YAML or JSON, in their order."""
    return (path for path in map(Path, sorted(names)) if path.suffix.lower() in SUFFIXES and path.is_file())


class _Merger:
    """Merges the sections of several files: lists are joined, maps united, any other section is in one file."""

    def __init__(self, problems: Problems, main: str) -> None:
        self._problems = problems
        self._main = main
        self._sections: dict[str, MapEntry] = {}
        self._values: dict[str, list[Node]] = {}
        self._places: dict[tuple[str, ...], str] = {}
        self.parts = Parts()

    def add(self, part: _Part) -> None:
        """Add the sections of *part*."""
        for entry in part.document.entries:
            key = entry.key.text
            if not key.startswith(_EXTENSION) and key != "include" and describe(entry.value) != "nothing":
                with self._problems.collect_at(part.file, entry.key):
                    self._add(entry, part.file)

    def root(self, document: MapNode) -> MapNode:
        """Return the merged document; its place is that of the main *document*."""
        return MapNode(tuple(map(self._merged, self._sections)), document.line, document.column)

    def _add(self, entry: MapEntry, file: str) -> None:
        section, value = entry.key.text, entry.value
        if section == "version" and file != self._main:
            if not isinstance(value, Scalar) or value.text != "1":
                raise UsageError("version: this image-syncer reads version 1")
            return
        known = self._values.get(section, [])
        if section in _MAPS and isinstance(value, MapNode) and all(isinstance(one, MapNode) for one in known):
            value = self._without_known(section, value, file)
        elif section in _LISTS and isinstance(value, ListNode) and all(isinstance(one, ListNode) for one in known):
            self.parts.add_items(file, section, sum(len(one.items) for one in known if isinstance(one, ListNode)))
        elif known:
            raise _duplicate(section, self._places[section,], file)
        self._sections.setdefault(section, entry)
        self._values.setdefault(section, []).append(value)
        if self._places.setdefault((section,), f"{file}:{entry.key.line}").startswith(f"{file}:"):
            self.parts.add_key(file, section)

    def _without_known(self, section: str, value: MapNode, file: str) -> MapNode:
        """Return *value* without keys that an earlier file has, which are problems."""
        entries: list[MapEntry] = []
        for entry in value.entries:
            with self._problems.collect_at(file, entry.key):
                key, place = entry.key.text, f"{file}:{entry.key.line}"
                first = self._places.setdefault((section, key), place)
                if first != place:
                    raise _duplicate(f"{section}.{key}", first, file)
                self.parts.add_key(file, section, key)
                entries.append(entry)
        return MapNode(tuple(entries), value.line, value.column)

    def _merged(self, section: str) -> MapEntry:
        values = self._values[section]
        first = self._sections[section]
        match values[0]:
            case MapNode(_, line, column) if section in _MAPS:
                entries = (entry for one in values if isinstance(one, MapNode) for entry in one.entries)
                return MapEntry(first.key, MapNode(tuple(entries), line, column))
            case ListNode(_, line, column) if section in _LISTS and len(values) > 1:
                items = (item for one in values if isinstance(one, ListNode) for item in one.items)
                return MapEntry(first.key, ListNode(tuple(items), line, column))
            case _:
                return first


def _duplicate(key: str, first: str, file: str) -> UsageError:
    first_file, _, line = first.rpartition(":")
    place = f"line {line}" if first_file == file else first
    return UsageError(f"duplicate key {quoted(key)}, first in {place}", remedy="keep one of them")
