"""Read a configuration file. As in the Go tool, its suffix decides between YAML and JSON."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from image_syncer.config.bounded_file import read_bounded
from image_syncer.config.documents.node import DocumentError, MapNode, Node, describe
from image_syncer.config.documents.problems import error_at
from image_syncer.errors import ConfigError

FILE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Largest file that is read; ten thousand rules take about one MiB."""

_DOCUMENT_START: Final = re.compile(r"^---[ \t]*(?:#.*)?(?:\n|\Z)", re.MULTILINE)
SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Names of configuration files end in one of these."""


def read_document(path: Path, *, remedy_if_empty: str, may_be_empty: bool = False) -> MapNode:
    """Return the map in the file at *path*; `ConfigError` for any other content, and unless *may_be_empty* for none."""
    if path.suffix.lower() not in SUFFIXES and path.is_file():  # A pipe has no name of its own: YAML includes JSON.
        remedy = "the name must end in .yaml, .yml or .json"
        raise ConfigError("cannot tell YAML from JSON", file=str(path), remedy=remedy)
    return parse_document(_read(path), path, remedy_if_empty=remedy_if_empty, may_be_empty=may_be_empty)


def parse_document(content: bytes, path: Path, *, remedy_if_empty: str, may_be_empty: bool = False) -> MapNode:
    """Return the map in *content*, the bytes of the file at *path*, as `read_document` does."""
    file, parse = str(path), _parser(path.suffix.lower())
    text = _decode(content, file)
    try:
        node = parse(text)
    except DocumentError as error:
        raise ConfigError(error.message, file=file, line=error.line, column=error.column, remedy=error.remedy) from None
    if node is None or describe(node) == "nothing":
        if may_be_empty:
            return MapNode((), 1)
        raise ConfigError("the file is empty", file=file, remedy=remedy_if_empty)
    if not isinstance(node, MapNode):
        raise error_at(f"expected a map, found {describe(node)}", file, node, remedy=remedy_if_empty)
    return node


def read_text(path: Path) -> str:
    """Return the text of the file at *path*; `ConfigError` if it cannot be read, is too large or is not UTF-8."""
    return _decode(_read(path), str(path))


def read_nodes(path: Path) -> list[Node]:
    """Return the documents in the file at *path*, any values; only YAML has several. `ConfigError`."""
    parse = _parser(path.suffix.lower())
    texts = [read_text(path)]
    if path.suffix.lower() != ".json":
        texts = list(_split_documents(texts[0]))
    nodes: list[Node] = []
    for text in texts:
        try:
            node = parse(text)
        except DocumentError as error:
            raise ConfigError(
                error.message, file=str(path), line=error.line, column=error.column, remedy=error.remedy
            ) from None
        if node is not None and describe(node) != "nothing":
            nodes.append(node)
    if not nodes:
        raise ConfigError("the file is empty", file=str(path))
    return nodes


def _split_documents(text: str) -> Iterator[str]:
    """Yield each YAML document of *text*, after as many empty lines as precede it, so that its lines keep numbers."""
    end, lines = 0, 0
    for mark in _DOCUMENT_START.finditer(text):
        part = text[end : mark.start()]
        yield "\n" * lines + part
        lines += part.count("\n") + mark.group().count("\n")
        end = mark.end()
    yield "\n" * lines + text[end:]


def _parser(suffix: str) -> Callable[[str], Node | None]:
    """Return the parser for files with *suffix*; the parser of YAML is slow to import."""
    if suffix == ".json":
        from image_syncer.config.documents.json_text import parse_json  # noqa: PLC0415 - not needed for YAML

        return parse_json
    from image_syncer.config.documents.yaml_text import parse_yaml  # noqa: PLC0415

    return parse_yaml


def _read(path: Path) -> bytes:
    try:
        content = read_bounded(path, FILE_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise ConfigError("no such file", file=str(path), remedy="check the path") from error
    except IsADirectoryError as error:
        raise ConfigError("a directory, not a file", file=str(path)) from error
    except PermissionError as error:
        raise ConfigError("this user may not read it", file=str(path), remedy="check its permissions") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or 'unknown reason'}", file=str(path)) from error
    if len(content) > FILE_LIMIT_BYTES:
        raise ConfigError(f"larger than {FILE_LIMIT_BYTES // 1024**2} MiB", file=str(path))
    return content


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        start = content.rfind(b"\n", 0, error.start) + 1
        column = len(content[start : error.start].decode("utf-8-sig")) + 1
        raise ConfigError("not UTF-8", file=file, line=line, column=column, remedy="save the file as UTF-8") from None
