"""Import of the pending queue of the fork's daemon: read once, recorded as events, and renamed.

The file is one JSON object, `{"REGISTRY/PATH:TAG&DESTINATION": index}`. The index points into a configuration that may
have changed, so it is ignored: the current rules decide the targets. An invalid file is refused and left unchanged,
where the fork would overwrite it.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from image_syncer.errors import ConfigError, InvalidReference
from image_syncer.oci import Repository
from image_syncer.oci.reference import is_tag, split_reference
from image_syncer.state.event_log import RECORD_LIMIT, EventLog, NewEvent

FILE_LIMIT_BYTES: Final = 16 * 1024 * 1024
SOURCE: Final = "fork-queue"
"""The source of imported events."""

_NAMES_LIMIT: Final = 1000
_REMEDY: Final = "the file is unchanged; repair it, or move it away to start without it"


@dataclass(frozen=True, slots=True, order=True)
class PendingImage:
    """A pending image of the fork's queue and its destination."""

    repository: str
    tag: str
    destination: str


@dataclass(frozen=True, slots=True)
class ForkQueue:
    """The content of the file. *rejected* are entries with invalid names; *digest* is that of the file's bytes."""

    images: tuple[PendingImage, ...]
    rejected: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The imported queue and the new path of the file."""

    queue: ForkQueue
    kept_as: Path


async def import_fork_queue(path: Path, log: EventLog, *, now: datetime) -> Imported | None:
    """Record the pending images in the file at *path* as events, then rename the file; None without a file.

    An interrupted import is repeated at the next start and yields the same events. `ConfigError` for an invalid file.
    """
    queue = await asyncio.to_thread(read_fork_queue, path)
    if queue is None:
        return None
    tags = sorted({(image.repository, image.tag) for image in queue.images})
    events = [NewEvent(SOURCE, repository, tag, delivery=queue.digest) for repository, tag in tags]
    for start in range(0, len(events), RECORD_LIMIT):
        await log.record(events[start : start + RECORD_LIMIT], now=now)
    return Imported(queue, await asyncio.to_thread(_keep_aside, path))


def read_fork_queue(path: Path) -> ForkQueue | None:
    """Return the queue in the file at *path*, None without a file; `ConfigError` for an invalid one."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or 'unknown reason'}", file=str(path)) from error
    if len(content) > FILE_LIMIT_BYTES:
        raise _invalid_queue(path, f"larger than {FILE_LIMIT_BYTES // 1024**2} MiB")
    return parse_fork_queue(content, path)


def parse_fork_queue(content: bytes, path: Path) -> ForkQueue:
    """Return the queue in *content*; `ConfigError`, which names *path*, for an invalid one."""
    images: set[PendingImage] = set()
    rejected: list[str] = []
    for key, value in _entries(content, path).items():
        name, separator, destination = key.rpartition("&")
        if not separator or not isinstance(value, int):
            raise _invalid_queue(
                path, f"{key[:100]!r} is not an entry of the fork's queue (REGISTRY/PATH:TAG&DESTINATION)"
            )
        try:
            images.add(PendingImage(*_reference(name), destination.strip()))
        except InvalidReference as error:
            rejected.append(f"{key[:300]!r}: {error.message}")
    return ForkQueue(tuple(sorted(images)), tuple(rejected), hashlib.sha256(content).hexdigest())


def _entries(content: bytes, path: Path) -> Mapping[str, Any]:
    if not content.strip():
        raise _invalid_queue(path, "the file is empty: the fork was stopped while writing it")
    try:
        document: object = json.loads(content)
    except json.JSONDecodeError as error:
        raise _invalid_queue(path, f"not JSON: {error.msg}", line=error.lineno) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _invalid_queue(path, "not JSON") from error
    if document is None:  # Go writes a nil map as null.
        return {}
    if not isinstance(document, dict):
        raise _invalid_queue(path, "expected one JSON object")
    return cast("dict[str, Any]", document)


def _reference(text: str) -> tuple[str, str]:
    """Return repository and tag. In the fork the first part is always the registry, even without a dot."""
    name, tag, digest = split_reference(text)
    if tag is None or digest is not None or not is_tag(tag):
        raise InvalidReference("no valid tag")
    host, slash, path = name.partition("/")
    if not slash:
        raise InvalidReference("no registry before the repository")
    return str(Repository.of(host, path)), tag


def _keep_aside(path: Path) -> Path:
    """Rename the file without overwriting another one, and return its new path."""
    try:
        for number in range(_NAMES_LIMIT):
            kept = path.with_name(f"{path.name}.imported{f'.{number}' if number else ''}")
            try:
                os.link(path, kept)  # unlike a rename, it fails if the name exists
            except FileExistsError:
                continue
            path.unlink()
            return kept
    except OSError as error:
        raise ConfigError(
            f"its images are recorded, but the file cannot be renamed: {error.strerror or 'unknown reason'}",
            file=str(path),
            remedy="move it away by hand",
        ) from error
    raise ConfigError("too many imported files beside it", file=str(path), remedy="move it away by hand")


def _invalid_queue(path: Path, why: str, *, line: int | None = None) -> ConfigError:
    return ConfigError(f"not the fork's pending queue: {why}", file=str(path), line=line, remedy=_REMEDY)
