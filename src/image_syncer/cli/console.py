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
    """Make both streams usable: closed ones swallow everything, and no character that they lack stops us."""
    if not sys.stdout:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - stays open as long as we run
    if not sys.stderr:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - stays open as long as we run
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def write_result(chunks: Iterable[str]) -> bool:
    """Write the result to stdout; False once nobody reads it any more, which is no failure (`tags | head`)."""
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
    """Write *content* to stdout as it is; on a terminal without what could steer that."""
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
    """Write one line to stderr; whether anybody reads it is not our concern."""
    try:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that prints
    except OSError:
        _discard(sys.stderr)


def complain(text: str) -> None:
    """Say what went wrong, in our name."""
    say(f"{PROGRAM}: {text}")


def warn(text: str) -> None:
    """Say what people should know although we go on."""
    say(f"{PROGRAM}: warning: {text}")


def _discard(stream: TextIO) -> None:
    """Let everything more that is written to *stream* vanish, also what it holds back until the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
