"""One worker per job file: a file lock, which the kernel releases when its holder ends."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from image_syncer.errors import UsageError

_POLL_SECONDS: Final = 0.3


@asynccontextmanager
async def worker_lock(database: Path, stop: asyncio.Event) -> AsyncGenerator[bool]:
    """Wait until no other worker uses *database*, and hold the lock inside the context.

    Yields False if *stop* was set first. So a new daemon starts working when the old one has drained, and receives
    notifications before that.

    The lock is on a separate file, since closing any handle of the database would release SQLite's own locks. The file
    stays when the worker ends: otherwise two workers could lock two files of the same name. It works on one machine
    only, like SQLite's write-ahead log.
    """
    path = database.with_name(f"{database.name}.lock")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"jobs: {path} cannot be opened: {error.strerror}", remedy="check its permissions") from error
    try:
        yield await _lock(handle, path, stop)
    finally:
        os.close(handle)


async def _lock(handle: int, path: Path, stop: asyncio.Event) -> bool:
    log: Any = structlog.get_logger()
    waiting = False
    while not stop.is_set():
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                log.warning("worker.waiting", lock=str(path), remedy="for several workers use PostgreSQL")
            waiting = True
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return True
    return False
