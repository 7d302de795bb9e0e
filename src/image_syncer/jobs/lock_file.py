"""One worker for each file of jobs: a lock that the kernel gives back whatever happens to its holder."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from image_syncer.errors import UsageError


@contextmanager
def worker_lock(database: Path) -> Generator[None]:
    """Be the only worker of *database* inside the context; `UsageError` where another process is.

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
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"jobs: another worker holds {path}",
            remedy="stop it first; for several workers keep the jobs in PostgreSQL",
        ) from error
