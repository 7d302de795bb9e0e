"""The length of two ways through the code: how many functions a reader passes to follow one request.

python tools/path_length.py [--webhook] [--at-most FRAMES] [--list]

Runs `image-syncer copy` in this process between two FakeRegistry servers and records the call stack at the moment when
the PUT of the image's manifest is sent. A task continues the stack of the code that created it, so awaits, tasks and
plain calls all count. Prints the number of frames of our package, of the files that they are in, and of the steps from
one file to another. Exit 1 with more frames than --at-most.

--webhook runs the daemon in this process instead, sends it a push event, and counts the way from the HTTP request to
`Copier.copy` in three parts: the request up to the record of the event, the dispatcher up to the request for a job, and
the job up to the copy. Each of the two hand-overs (a row in the state, a job in the queue) counts as one hop.
"""

import argparse
import asyncio
import base64
import contextlib
import inspect
import io
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

from image_syncer.cli.main import main as command_line
from image_syncer.jobs import JobQueue
from image_syncer.state.event_log import EventLog
from image_syncer.sync.copier import Copier
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

PACKAGE: Final = "image_syncer"
_DAEMON_SECONDS: Final = 40.0
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


@contextmanager
def recording_calls(recorder: Recorder, calls: Sequence[tuple[type, str, str]]) -> Generator[list[Way]]:
    """Yield the ways to the first call of each method in *calls*: its class, its name, and where the way begins.

    The way begins with the first frame in a file that starts with that text.
    """
    ways: dict[str, Way] = {}
    ordered: list[Way] = []

    def wrap(owner: type, name: str, beginning: str) -> Callable[..., Any]:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if name not in ways:
                frames = recorder.stack()
                first = next((at for at, one in enumerate(frames) if one.file.startswith(beginning)), len(frames))
                ways[name] = Way(
                    (*(one for one in frames[first:] if one.function != "call"), Frame(f"{owner.__module__}", name))
                )
                ordered.append(ways[name])
            return original(*arguments, **options)

        return call

    with contextlib.ExitStack() as stack:
        for owner, name, beginning in calls:
            stack.enter_context(patch.object(owner, name, wrap(owner, name, beginning)))
        yield ordered


def measure_webhook() -> list[Way]:
    """Let a daemon copy one pushed image; return the ways to the event's row, to its job and to the copy."""
    recorder = Recorder(_SENT_FIRST)
    calls = [
        (EventLog, "record", "server/"),
        (JobQueue, "request_copies", "daemon/dispatcher.py"),
        (Copier, "copy", "jobs/attempts.py"),
    ]
    with tempfile.TemporaryDirectory() as home, FakeRegistry.in_thread() as source, FakeRegistry.in_thread() as target:
        source.load("team/app", single("path"), "v1")
        os.environ["HOME"] = home
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        file = Path(home) / "native.yaml"
        rule = {
            "name": "r",
            "source": f"{source.host}/team/**",
            "targets": f"{target.host}/{{repository}}",
            "on": "event",
        }
        login = {"username": "user", "password": "long enough for a login"}
        document = {
            "version": 1,
            "rules": [rule],
            "hooks": {"way": {"kind": "plain", "basic": login}},
            "server": {"listen": f"127.0.0.1:{port}", "auth": {"basic": login}},
            "state": {"path": f"{home}/state"},
        }
        file.write_text(json.dumps(document), encoding="utf-8")
        path = f"/hooks/way?name={source.host}/team/app&tag=v1"
        pusher = threading.Thread(target=_push, args=(port, path, login, lambda: bool(target.content("team/app").tags)))
        with recorder.recording(), recording_calls(recorder, calls) as ways, contextlib.redirect_stdout(io.StringIO()):
            pusher.start()
            code = command_line(["serve", "--quiet", "-c", str(file)])
            pusher.join()
    if len(ways) != len(calls):
        raise RuntimeError(f"the daemon ended with {code} after {len(ways)} of {len(calls)} steps")
    return ways


def _push(port: int, path: str, login: dict[str, str], has_arrived: Callable[[], bool]) -> None:
    """Send the event once the daemon listens, wait for the copy, and stop this process's daemon."""
    basic = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    deadline = time.monotonic() + _DAEMON_SECONDS
    sent = False
    while time.monotonic() < deadline and not has_arrived():
        if not sent:
            with contextlib.suppress(OSError):
                connection = HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("POST", path, headers={"Authorization": f"Basic {basic}"})
                sent = connection.getresponse().status == HTTPStatus.ACCEPTED
                connection.close()
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = argparse.ArgumentParser(description="Count the frames from `image-syncer copy` to the PUT of a manifest.")
    parser.add_argument("--at-most", type=int, metavar="FRAMES", help="exit 1 with more frames")
    parser.add_argument("--list", action="store_true", help="print every frame")
    parser.add_argument("--webhook", action="store_true", help="count the hops from a webhook to its copy")
    options = parser.parse_args()
    ways = measure_webhook() if options.webhook else [measure()]
    for way in ways:
        if options.list:
            for number, frame in enumerate(way.frames, 1):
                print(f"{number:3} {frame.file:40} {frame.function}")
        print(way)
    total = sum(len(way.frames) for way in ways) + len(ways) - 1
    if options.webhook:
        print(f"{total} hops, hand-overs included")
    return int(options.at_most is not None and total > options.at_most)


if __name__ == "__main__":
    sys.exit(main())
