"""The two streams: stdout carries the result, stderr everything else."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from image_syncer.cli.formatting import printable
from image_syncer.errors import ImageSyncerError
from image_syncer.text import visible

PROGRAM = "image-syncer"


def open_streams() -> None:
    """Make both streams usable: replace a closed one, and escape characters that a stream cannot encode."""
    if not sys.stdout:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the process ends
    if not sys.stderr:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def write_result(chunks: Iterable[str]) -> bool:
    """Write the result to stdout; return False if the reader has gone, which is no failure (`tags | head`)."""
    try:
        for chunk in chunks:
            sys.stdout.write(chunk)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        return False
    except OSError as error:
        _discard(sys.stdout)
        raise ImageSyncerError(f"the result cannot be written: {error.strerror}") from error
    return True


def write_bytes(content: bytes) -> None:
    """Write *content* to stdout unchanged; on a terminal with control characters escaped."""
    if sys.stdout.isatty():
        write_result(f"{visible(line)}\n" for line in content.decode("utf-8", "backslashreplace").splitlines())
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise ImageSyncerError(f"the result cannot be written: {error.strerror}") from error


def say(text: str) -> None:
    """Write one line to stderr; a broken stderr is ignored."""
    try:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that prints
    except OSError:
        _discard(sys.stderr)


def complain(text: str) -> None:
    """Write a line to stderr that begins with the name of the program."""
    say(f"{PROGRAM}: {text}")


def warn(text: str) -> None:
    """Write a warning to stderr."""
    say(f"{PROGRAM}: warning: {text}")


def _discard(stream: TextIO) -> None:
    """Send *stream* to /dev/null, with what is still in its buffer: a flush at exit cannot fail then."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
