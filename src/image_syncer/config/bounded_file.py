"""Reads files that a configuration names, with bounds on their size and on the wait for a pipe."""

import errno
import os
import select
import stat
from pathlib import Path
from typing import Final

_PIPE_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 64 * 1024


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the first *limit* bytes of the file at *path*, and one more if it is larger.

    A pipe, as of `-c <(sops -d mirror.yaml)`, may take a minute to send more. `OSError`, as of `open`.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISREG(mode):
            with os.fdopen(os.dup(handle), "rb") as file:
                return file.read(limit + 1)
        return _read_pipe(handle, limit)
    finally:
        os.close(handle)


def _read_pipe(handle: int, limit: int) -> bytes:
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    content = bytearray()
    while len(content) <= limit:
        # Without a writer a read would find the end at once, so wait for one first.
        if not waiting.poll(_PIPE_SECONDS * 1000):
            raise TimeoutError(errno.ETIMEDOUT, f"nothing was written into this pipe for {_PIPE_SECONDS:g} s")
        try:
            piece = os.read(handle, min(_PIECE_BYTES, limit + 1 - len(content)))
        except BlockingIOError:
            continue
        if not piece:
            break
        content += piece
    return bytes(content)
