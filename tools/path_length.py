"""The length of the way from the command line to the socket: how much a reader passes to follow one request.

python tools/path_length.py [--at-most FRAMES] [--list]

Runs `image-syncer copy` in this process between two FakeRegistry servers and records the call stack at the moment when
the PUT of the image's manifest is sent. A task continues the stack of the code that created it, so awaits, tasks and
plain calls all count. Prints the number of frames of our package, of the files that they are in, and of the steps from
one file to another. Exit 1 with more frames than --at-most.
"""

import argparse
import asyncio
import contextlib
import inspect
import io
import os
import re
import socket
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

from image_syncer.cli.main import main as command_line
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

PACKAGE: Final = "image_syncer"
_SENT_FIRST: Final = b"PUT /v2/team/copied/manifests/v1 "


@dataclass(frozen=True)
class Frame:
    """One function on the way: the *file* within the package (empty for all other code), and the *function*."""

    file: str
    function: str


_LOOP_STEP: Final = Frame("", "_run")
"""The event loop as it continues a task (`asyncio.events.Handle._run`)."""
_COMMAND_LINE: Final = re.compile(r"/site-packages/click/|/image_syncer/cli/options\.py$")
"""The code that calls a command's function: click, and the decorators that collect its options."""
_COMPREHENSIONS: Final = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
"""Frames of their own in Python 3.11 only."""


@dataclass(frozen=True)
class Way:
    """The frames of our package from the command down to the socket, outermost first."""

    frames: tuple[Frame, ...]

    @property
    def files(self) -> int:
        """How many files the frames are in."""
        return len({frame.file for frame in self.frames})

    @property
    def changes(self) -> int:
        """How often the way steps from one file into another."""
        return sum(first.file != second.file for first, second in pairwise(self.frames))

    def __str__(self) -> str:
        return f"{len(self.frames)} frames in {self.files} files with {self.changes} changes of file"


class Recorder:
    """Records the stack beneath each task at its creation, and the whole stack when *beginning* is sent.

    Stacks start at the command's function: how the command line finds it and collects its options does not count.
    """

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._created_by: WeakKeyDictionary[asyncio.Task[Any], tuple[Frame, ...]] = WeakKeyDictionary()
        self.way: Way | None = None

    @contextmanager
    def recording(self) -> Generator[None]:
        """Watch every task and every socket of this process."""
        create_task = asyncio.BaseEventLoop.create_task
        send = socket.socket.send

        def create(loop: asyncio.BaseEventLoop, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
            task: asyncio.Task[Any] = create_task(loop, *arguments, **options)
            self._created_by[task] = self.stack()
            return task

        def note_and_send(sock: socket.socket, content: Any, *flags: int) -> int:
            if self.way is None and bytes(content[: len(self._beginning)]) == self._beginning:
                self.way = Way(self.stack())
            return send(sock, content, *flags)

        with (
            patch.object(asyncio.BaseEventLoop, "create_task", create),
            patch.object(socket.socket, "send", note_and_send),
        ):
            yield

    def stack(self) -> tuple[Frame, ...]:
        """Return the frames of our package now, outermost first, those that created the running task included."""
        own: list[Frame] = []
        frame: FrameType | None = inspect.currentframe()
        while frame is not None and not _COMMAND_LINE.search(frame.f_code.co_filename):
            if frame.f_code.co_name not in _COMPREHENSIONS:
                own.append(_frame_of(frame))
            frame = frame.f_back
        own.reverse()
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        before = self._created_by.get(task, ()) if task is not None else ()
        if before:  # Beneath a task's first frame is the event loop, which `before` has already.
            own = own[_end_of_loop(own) :]
        return (*before, *(one for one in own if one.file))


def _frame_of(frame: FrameType) -> Frame:
    """Return the value for *frame*."""
    _, found, file = frame.f_code.co_filename.partition(f"/src/{PACKAGE}/")
    return Frame(file if found else "", frame.f_code.co_name)


def _end_of_loop(frames: Sequence[Frame]) -> int:
    """Return where the frames after the last run of an event loop begin."""
    return max((number + 1 for number, frame in enumerate(frames) if frame == _LOOP_STEP), default=0)


def measure() -> Way:
    """Copy one image and return the way to the PUT of its manifest."""
    recorder = Recorder(_SENT_FIRST)
    with tempfile.TemporaryDirectory() as home, FakeRegistry.in_thread() as source, FakeRegistry.in_thread() as target:
        source.load("team/app", single("path"), "v1")
        os.environ["HOME"] = home
        ends = f"{source.host}/team/app:v1", f"{target.host}/team/copied:v1"
        with recorder.recording(), contextlib.redirect_stdout(io.StringIO()):
            code = command_line(["copy", "--quiet", "--state", str(Path(home) / "state.db"), *ends])
    if code or recorder.way is None:
        raise RuntimeError(f"the copy ended with {code}, and the PUT was {'seen' if recorder.way else 'not seen'}")
    return recorder.way


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = argparse.ArgumentParser(description="Count the frames from `image-syncer copy` to the PUT of a manifest.")
    parser.add_argument("--at-most", type=int, metavar="FRAMES", help="exit 1 with more frames")
    parser.add_argument("--list", action="store_true", help="print every frame")
    options = parser.parse_args()
    way = measure()
    if options.list:
        for number, frame in enumerate(way.frames, 1):
            print(f"{number:3} {frame.file:40} {frame.function}")
    print(way)
    return int(options.at_most is not None and len(way.frames) > options.at_most)


if __name__ == "__main__":
    sys.exit(main())
