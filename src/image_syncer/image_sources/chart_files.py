"""Files of Helm charts, from a directory or an archive; bounded in size, number and depth."""

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from image_syncer.errors import Refused
from image_syncer.image_sources.local_files import read_file
from image_syncer.structs import Struct

ARCHIVE_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""Largest archive of a chart, packed."""

UNPACKED_LIMIT_BYTES: Final = 128 * 1024 * 1024
ENTRIES_LIMIT: Final = 20_000
FILE_LIMIT_BYTES: Final = 8 * 1024 * 1024
YAML_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""YAML of a chart and the charts in it that is parsed, which takes seconds for each MiB."""

DEPTH_LIMIT: Final = 8

_READ_NAMES: Final = frozenset({"Chart.yaml", "requirements.yaml", "values.yaml"})
_TEMPLATE_SUFFIXES: Final = (".yaml", ".yml", ".tpl", ".txt")
_ARCHIVE_SUFFIXES: Final = (".tgz", ".tar.gz")

ChartFiles = Mapping[str, bytes]
"""The content of files by their path in the chart."""


class ReadBudget(Struct, frozen=False):
    """What may still be read of a chart and the charts in it."""

    size_bytes: int = UNPACKED_LIMIT_BYTES
    entries: int = ENTRIES_LIMIT
    yaml_bytes: int = YAML_LIMIT_BYTES

    def take(self, size_bytes: int, name: str) -> None:
        """Take *size_bytes*; `Refused` beyond the budget."""
        self.size_bytes -= size_bytes
        if self.size_bytes < 0:
            raise Refused(f"{name}: unpacks to more than {UNPACKED_LIMIT_BYTES // 1024**2} MiB")

    def take_yaml(self, size_bytes: int, name: str) -> None:
        """Take *size_bytes* of YAML; `Refused` beyond the budget."""
        self.yaml_bytes -= size_bytes
        if self.yaml_bytes < 0:
            raise Refused(f"{name}: more than {YAML_LIMIT_BYTES // 1024**2} MiB of metadata and values")

    def take_entry(self, name: str) -> None:
        """Take one entry; `Refused` beyond the budget."""
        self.entries -= 1
        if self.entries < 0:
            raise Refused(f"{name}: has more than {ENTRIES_LIMIT} files")


def read_archive(content: bytes, name: str, budget: ReadBudget) -> ChartFiles:
    """Return the files of the chart in the archive *content* that matter here; `Refused` if it is none.

    Links are no files. Paths keep their part below the chart's own directory.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_Unpacked(content, name, budget), mode="r|") as archive:
            for member in archive:
                budget.take_entry(name)
                path = _inner_path(member.name)
                if not member.isfile() or path is None or not is_wanted(path):
                    continue
                _check_size(member.size, f"{name}: {path}")
                stream = archive.extractfile(member)
                if stream is not None:
                    files[path] = stream.read(FILE_LIMIT_BYTES)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise Refused(f"{name}: not an archive of a chart, or a damaged one") from error
    return files


def read_directory(path: Path, budget: ReadBudget) -> ChartFiles:
    """Return the files of the chart in the directory *path* that matter here; links to elsewhere are left out."""
    files: dict[str, bytes] = {}
    root = path.resolve()
    for folder, folders, names in os.walk(path):
        folders.sort()
        for _ in (*folders, *names):
            budget.take_entry(str(path))
        for name in sorted(names):
            file = Path(folder, name)
            inner = file.relative_to(path).as_posix()
            if not is_wanted(inner) or not file.resolve().is_relative_to(root):
                continue
            is_archive = inner.endswith(_ARCHIVE_SUFFIXES)
            files[inner] = read_file(file, limit=ARCHIVE_LIMIT_BYTES if is_archive else FILE_LIMIT_BYTES)
            budget.take(len(files[inner]), str(path))
    return files


def is_wanted(path: str) -> bool:
    """Whether the file at *path* in a chart may name images: its metadata, values, templates and charts."""
    parts = path.split("/")
    while len(parts) > 2 and parts[0] == "charts":  # noqa: PLR2004 - charts/NAME/FILE
        parts = parts[2:]
    if len(parts) == 1:
        return parts[0] in _READ_NAMES
    if parts[0] == "charts":
        return parts[1].endswith(_ARCHIVE_SUFFIXES)
    return parts[0] == "templates" and parts[-1].endswith(_TEMPLATE_SUFFIXES)


def _inner_path(name: str) -> str | None:
    """Return the path *name* without the chart's own directory; None if it leads out of it or names it."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        return None
    return "/".join(parts[1:]) or None


def _check_size(size: int, name: str) -> None:
    if size > FILE_LIMIT_BYTES:
        raise Refused(f"{name}: larger than {FILE_LIMIT_BYTES // 1024**2} MiB")


class _Unpacked(io.RawIOBase):
    """The content of a gzip archive as a stream, counted against a budget."""

    def __init__(self, content: bytes, name: str, budget: ReadBudget) -> None:
        super().__init__()
        self._stream = gzip.GzipFile(fileobj=io.BytesIO(content))
        self._name = name
        self._budget = budget

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        content = self._stream.read(size if size >= 0 else FILE_LIMIT_BYTES)
        self._budget.take(len(content), self._name)
        return content
