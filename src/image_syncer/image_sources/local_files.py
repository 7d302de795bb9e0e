"""Reads the local files of a list of images: paths and globs, with bounds."""

import os
from pathlib import Path
from typing import Final

from image_syncer.config.documents.file_patterns import find_files, has_wildcards
from image_syncer.errors import Refused, UsageError
from image_syncer.structs import Struct

FILES_LIMIT: Final = 1_000
FILE_LIMIT_BYTES: Final = 16 * 1024 * 1024
TOTAL_LIMIT_BYTES: Final = 128 * 1024 * 1024


class NamedText(Struct):
    """The *content* of a file, and its *name* for messages."""

    name: str
    content: bytes


def find_paths(location: str) -> list[Path]:
    """Return the paths that the path or glob *location* names, sorted; `Refused` if there is none or too many."""
    path = Path(location)
    if path.exists() or not has_wildcards(location):
        return [path]
    try:
        found = find_files(location)
    except UsageError as error:
        raise Refused(error.message, remedy=error.remedy) from error
    if not found:
        raise Refused(f"{location}: no file matches", remedy="check the path; it is relative to the configuration file")
    if len(found) > FILES_LIMIT:
        raise Refused(f"{location}: more than {FILES_LIMIT} files match", remedy="name fewer")
    return [Path(one) for one in found]


def read_file(path: Path, *, limit: int = FILE_LIMIT_BYTES) -> bytes:
    """Return the content of the file at *path*; `Refused` if it cannot be read or is larger than *limit* bytes."""
    try:
        # A pipe or a device would block or never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not path.is_file():
                raise Refused(f"{path}: not a file", remedy="name a file, or a glob of files")
            content = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise Refused(
            f"{path}: no such file", remedy="check the path; it is relative to the configuration file"
        ) from error
    except IsADirectoryError as error:
        raise Refused(f"{path}: a directory, not a file", remedy="name a file, or a glob of files") from error
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror or 'unknown reason'}") from error
    if len(content) > limit:
        raise Refused(f"{path}: larger than {limit // 1024**2} MiB")
    return content


def read_texts(location: str) -> list[NamedText]:
    """Return the files that the path or glob *location* names; `Refused` for one that cannot be read.

    A glob's directories are left out.
    """
    paths = find_paths(location)
    if len(paths) > 1:
        paths = [path for path in paths if not path.is_dir()]
    texts: list[NamedText] = []
    size = 0
    for path in paths:
        texts.append(NamedText(str(path), read_file(path)))
        size += len(texts[-1].content)
        if size > TOTAL_LIMIT_BYTES:
            raise Refused(f"{location}: more than {TOTAL_LIMIT_BYTES // 1024**2} MiB in all", remedy="name fewer files")
    return texts


def decode(content: bytes, name: str) -> str:
    """Return *content* as text without a byte order mark and with plain line ends; `Refused` if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Refused(f"{name}:{line}: not UTF-8", remedy="save the file as UTF-8") from None
