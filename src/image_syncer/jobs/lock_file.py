"""One worker for each file of jobs: a lock that the kernel gives back whatever happens to its holder."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from image_syncer.errors import UsageError

_LOOK_SECONDS: Final = 0.3


@asynccontextmanager
async def worker_lock(database: Path, stop: asyncio.Event) -> AsyncGenerator[bool]:
    """Wait until no other process works on *database*, then be its only worker inside the context.

    Yields False where *stop* was set before that. So a daemon that replaces another one begins when the old one has
    drained, and takes notifications before that already.

    The lock is on a file of its own beside it (closing any handle of the database would drop a lock of SQLite's), which
    stays when the worker ends: removing it would let two workers lock two files of one name. It holds on this machine
    only; so does SQLite's write-ahead log.
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
                log.warning("worker.waiting", lock=str(path), remedy="for several workers keep the jobs in PostgreSQL")
            waiting = True
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return True
    return False
