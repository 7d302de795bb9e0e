"""A daemon is frozen, or cut off from PostgreSQL, while it copies: it must not overwrite what others copied meanwhile.

stop   SIGSTOP at a random moment of its copies
held   SIGSTOP while it reads blobs, so that none of its manifests is on the way
cut    its connections to PostgreSQL go silent while it reads blobs
late   SIGSTOP while its manifests are on the way: the target stores them late, which no worker can prevent
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from image_syncer.testing.content import Image
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from stress.callers import Caller
from stress.daemon import LOGIN, Daemon, write_native_file
from stress.report import Report, Say
from support import relay
from support.ports import free_port
from support.postgres import Postgres

_REPOSITORY: Final = "team/app"
_PATIENCE_SECONDS: Final = 120.0
_REPAIR_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_DELAY_SECONDS: Final = 0.3
_ACCEPTED: Final = 202
_RUNNING: Final = 8
_WATCH_SECONDS: Final = 10.0  # A late write comes within moments, or when the worker has found its jobs lost.
_READS_HELD: Final = 4  # fewer than the transfers that a daemon makes at once
_WAYS: Final = ("stop", "held", "cut", "late")


@dataclass(frozen=True, slots=True)
class FrozenOptions:
    """*tags* are copied in the *way* described above; the worker is away for *seconds*."""

    tags: int
    seconds: float
    way: str


class Gate:
    """Holds requests that *matches* until it opens: the first *count*, or all until `hold_no_more`; passes others."""

    def __init__(self, count: int, matches: Callable[[web.Request], bool], *, all_of_them: bool = False) -> None:
        self.held = 0
        self.count = count
        self._matches = matches
        self._all_of_them = all_of_them
        self._open = threading.Event()

    def hold_no_more(self) -> None:
        """Let later requests pass; the held ones still wait."""
        self._all_of_them = False
        self.count = min(self.count, self.held)

    def open(self) -> None:
        """Let the held requests go on."""
        self._open.set()

    async def __call__(self, request: web.Request) -> None:
        """Hold *request* if it is one of those."""
        if not (self._all_of_them or self.held < self.count) or not self._matches(request):
            return
        self.held += 1
        while not self._open.is_set():  # noqa: ASYNC110 - another thread opens it
            await asyncio.sleep(_POLL_SECONDS)


def run(options: FrozenOptions, directory: Path, say: Say) -> Report:
    """Run the scenario with registries in this process, and return how many tags were old and for how long."""
    if options.way not in _WAYS:
        raise SystemExit(f"--way is one of {', '.join(_WAYS)}, not {options.way}")
    with ExitStack() as stack:
        source, target = (stack.enter_context(FakeRegistry.in_thread()) for _ in range(2))
        url = stack.enter_context(Postgres()).new_database()
        line = stack.enter_context(_silenceable_line(url))
        ports = [free_port(), free_port()]
        first, second = (
            stack.enter_context(
                Daemon(directory, port, write_native_file(directory, port, source.host, target.host, {"url": to}))
            )
            for port, to in zip(ports, (line.url, url), strict=True)
        )
        scene = _Scene(options, source, target, first, second)
        figures, broken = scene.play(line, say)
    return Report(f"a daemon away for {options.seconds:g} s ({options.way}), on PostgreSQL", figures, broken)


@dataclass(frozen=True, slots=True)
class Line:
    """A line to PostgreSQL at *url*, carried by the process *pid*."""

    url: str
    pid: int


class _Scene:
    def __init__(
        self, options: FrozenOptions, source: FakeRegistry, target: FakeRegistry, first: Daemon, second: Daemon
    ) -> None:
        self._options = options
        self._source = source
        self._target = target
        self._first = first
        self._second = second
        self._old = {f"v{number}": single(f"old-{number}") for number in range(options.tags)}
        self._new = {tag: single(f"new-{tag}") for tag in self._old}

    def play(self, line: Line, say: Say) -> tuple[dict[str, int | float | str], list[str]]:
        gate = self._gate()
        self._first.start_and_wait()
        self._push(self._old, self._first)
        self._wait_for_copies(gate)
        away = line.pid if self._options.way == "cut" else self._first.pid
        os.kill(away, signal.SIGSTOP)
        gate.hold_no_more()
        began = time.monotonic()
        stored = 0
        say(f"the first daemon is away; {self._count(self._old)} old tags are at the target")
        try:
            self._second.start_and_wait()
            quiet = self._second.wait_until_quiet(_PATIENCE_SECONDS)
            taken_over = time.monotonic() - began
            self._push(self._new, self._second)
            quiet = self._wait_until_new(_PATIENCE_SECONDS) and quiet
            say(f"the second daemon copied {self._count(self._new)} new tags after {time.monotonic() - began:.0f} s")
            time.sleep(max(0.0, began + self._options.seconds - time.monotonic()))
            gate.open()
            if self._options.way == "late":
                stored = self._wait_until_stored()
        finally:
            gone = time.monotonic() - began
            os.kill(away, signal.SIGCONT)
        most, seconds = self._watch(stored)
        remaining = len(self._new) - self._count(self._new)
        figures: dict[str, int | float | str] = {
            "tags": self._options.tags,
            "seconds away": round(gone, 1),
            "jobs taken over after, seconds": round(taken_over, 1),
            "tags that fell back, at most": most,
            "seconds until all were new again": round(seconds, 1),
            "tags that stayed old": remaining,
            "late writes that were repaired": self._logged("job.late_write"),
            "writes that were refused": self._logged("the lease of this job does not hold"),
        }
        prevented = self._options.way != "late"
        broken = [
            *([] if quiet else ["the second daemon did not copy the new images in time"]),
            *([f"{remaining} tags stayed old"] if remaining else []),
            *([f"{most} tags fell back, though the worker could know"] if prevented and most > 1 else []),
        ]
        return figures, broken

    def _gate(self) -> Gate:
        count = self._options.tags
        if self._options.way == "late":
            gate = Gate(count, lambda request: request.method == "PUT" and "/manifests/v" in request.path)
            self._target.intercept.append(gate)
            return gate
        if self._options.way in {"held", "cut"}:
            gate = Gate(
                _READS_HELD,
                lambda request: request.method == "GET" and "/blobs/" in request.path,
                all_of_them=self._options.way == "held",
            )
            self._source.intercept.append(gate)
            return gate

        async def delay(_request: web.Request) -> None:
            await asyncio.sleep(_DELAY_SECONDS)

        self._source.intercept.append(delay)
        return Gate(0, lambda _request: False)

    def _push(self, images: dict[str, Image], daemon: Daemon) -> None:
        caller = Caller(daemon.port, LOGIN)
        for tag, image in images.items():
            self._source.load(_REPOSITORY, image, tag)
            answer = caller.ask("POST", f"/hooks/stress?name={self._source.host}/{_REPOSITORY}&tag={tag}")
            if answer.status != _ACCEPTED:
                raise SystemExit(f"a push was answered {answer.status}")
        caller.close()

    def _wait_for_copies(self, gate: Gate) -> None:
        """Wait until the first daemon is in the middle of its copies."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            running = self._first.api("jobs?status=running&limit=500")
            if gate.held >= gate.count if gate.count else running is not None and len(running["items"]) >= _RUNNING:
                time.sleep(2 * _DELAY_SECONDS)
                return
            time.sleep(_POLL_SECONDS)
        raise SystemExit("the first daemon never ran its copies")

    def _count(self, images: dict[str, Image]) -> int:
        return sum(self._is_at_target(tag, image) for tag, image in images.items())

    def _is_at_target(self, tag: str, image: Image) -> bool:
        found = self._target.manifest(_REPOSITORY, tag)
        return found is not None and found.digest == image.digest

    def _wait_until_new(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._count(self._new) < len(self._new):
            time.sleep(_POLL_SECONDS)
        return self._count(self._new) == len(self._new)

    def _wait_until_stored(self) -> int:
        """Return the number of old tags at the target, once it has stored all held manifests."""
        deadline = time.monotonic() + _REPAIR_SECONDS
        while (stored := self._count(self._old)) < len(self._old) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return stored

    def _watch(self, most: int) -> tuple[int, float]:
        """Return the most old tags at once, and the seconds from now until the last one was new again.

        *most* counts those that were old before the worker returned: only it repairs them, and perhaps at once.
        """
        began = time.monotonic()
        last = 0.0
        while (now := time.monotonic()) < min(began + _REPAIR_SECONDS, began + last + _WATCH_SECONDS):
            old = len(self._new) - self._count(self._new)
            most, last = max(most, old), now - began if old else last
            time.sleep(_POLL_SECONDS)
        return most, last

    def _logged(self, text: str) -> int:
        return self._first.last_words(1_000_000).count(text)


@contextmanager
def _silenceable_line(url: str) -> Generator[Line]:
    """Carry the connections to *url* through a process of their own, which SIGSTOP makes silent."""
    port = urlsplit(url).port
    process = subprocess.Popen(
        [sys.executable, relay.__file__, "127.0.0.1", str(port), "0", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None:
            raise SystemExit("the line has no output")
        own: int = json.loads(process.stdout.readline())["port"]
        yield Line(url.replace(f":{port}/", f":{own}/"), process.pid)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
