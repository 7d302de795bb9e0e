"""A log stream that neither blocks nor fails its writers: lines that cannot be written are dropped and counted."""

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from image_syncer.structs import Struct

BUFFER_LIMIT_BYTES: Final = 1024 * 1024
"""The most bytes that wait for a slow reader; further lines are dropped."""

_CLOSE_SECONDS: Final = 1.0
_NEWLINE: Final = b"\n"


class DroppedLines(Struct, frozen=False):
    """The number of log lines that were dropped since the start of the process."""

    count: int = 0


class LossyWriter(io.TextIOBase):
    """A text stream to the open file *descriptor*, written by a thread of its own.

    The caller's `write` never waits for the reader of a pipe and never raises for a broken pipe or a full disk. Once
    the descriptor takes lines again, *on_recovery* receives the number of lines that were dropped meanwhile.
    """

    def __init__(self, descriptor: int, dropped: DroppedLines, on_recovery: Callable[[int], None]) -> None:
        super().__init__()
        # A duplicate: a thread that is still blocked after `close` must not write to a reused number.
        self._descriptor = os.dup(descriptor)
        self._dropped = dropped
        self._on_recovery = on_recovery
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._unreported = 0
        self._stopping = False
        self._changed = threading.Condition()
        # A daemon thread, since a write to a pipe without a reader may never return. It writes to the descriptor
        # directly: at exit the interpreter would wait for the lock of a buffered stream that the thread holds.
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor that the thread writes to."""
        return self._descriptor

    def write(self, text: str, /) -> int:
        """Buffer *text*, or drop it if the buffer is full."""
        chunk = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._stopping or self._buffered + len(chunk) > BUFFER_LIMIT_BYTES:
                self._drop(chunk)
            elif chunk:
                self._chunks.append(chunk)
                self._buffered += len(chunk)
                self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as the descriptor takes more."""

    def close(self) -> None:
        """Write the buffered lines for at most a second; later lines are dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        is_cut = False  # Whether the last line that was written lacks its end.
        while (chunk := self._next()) is not None:
            line = _NEWLINE + chunk if is_cut else chunk
            written = self._write(line)
            failed = written < len(line)
            is_cut = failed and (is_cut or written > 0)
            with self._changed:
                self._buffered -= len(chunk)
                if failed:
                    self._drop(chunk)
                missed = 0 if failed else self._unreported
                self._unreported -= missed
            if missed:
                self._on_recovery(missed)
        os.close(self._descriptor)

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._chunks and not self._stopping:
                self._changed.wait()
            return self._chunks.popleft() if self._chunks else None

    def _write(self, chunk: bytes) -> int:
        """Return how many bytes of *chunk* the descriptor took before it failed."""
        written = 0
        while written < len(chunk):
            try:
                written += os.write(self._descriptor, chunk[written:])
            except BlockingIOError:  # Another process made the pipe non-blocking.
                select.select((), (self._descriptor,), (), 1.0)
            except OSError:
                break
        return written

    def _drop(self, chunk: bytes) -> None:
        """Count the lines of *chunk*. The caller holds the lock."""
        lines = max(1, chunk.count(_NEWLINE))
        self._dropped.count += lines
        self._unreported += lines
