"""One worker per job file, one daemon per state file: locks that the kernel releases when their holder ends."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
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
    handle = _open(path, "jobs")
    try:
        yield await _lock(handle, path, stop)
    finally:
        os.close(handle)


@contextmanager
def daemon_lock(state: Path) -> Generator[None]:
    """Hold the lock of the one daemon that serves the SQLite *state*; `UsageError` if another process holds it."""
    path = state.with_name("daemon.lock")
    handle = _open(path, "state")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(
            f"another daemon uses the state in {state.parent}",
            remedy="stop it, or give each daemon its own state: path: (XDG_STATE_HOME for a file of the fork); "
            "several daemons share a PostgreSQL database (state: url:)",
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def _open(path: Path, what: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{what}: {path} cannot be opened: {error.strerror}", remedy="check its permissions"
        ) from error


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
