"""A server behind a line of some length: how a registry looks from far away, and how many bytes went there.

with SlowLine(registry.host, Line(latency_seconds=0.05, bytes_per_second=20 * 1024 * 1024)) as line:
    ...  # talk to line.host
    assert line.carried().to_client < 1_000_000
"""

import json
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from image_syncer.testing.relay import Carried, Line

__all__ = ["FAR", "Carried", "Line", "SlowLine"]

FAR: Final = Line(latency_seconds=0.05, bytes_per_second=20 * 1024 * 1024)
"""Another region: 50 ms for a round trip, and 20 MiB/s for a connection."""

_ANSWER_SECONDS = 10.0


class SlowLine:
    """A relay to the server at *host* (`127.0.0.1:port`), in a process of its own; a context manager."""

    def __init__(self, host: str, line: Line) -> None:
        self.host = ""
        self._server = host
        self._line = line
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        name, _, port = self._server.rpartition(":")
        line = str(self._line.latency_seconds), str(self._line.bytes_per_second)
        program = str(Path(__file__).with_name("relay.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", program, name, port, *line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self.host = f"127.0.0.1:{self._read()['port']}"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process of the relay."""
        return self._running.pid

    def carried(self) -> Carried:
        """Return what went over the line so far."""
        if self._running.stdin is not None:
            self._running.stdin.write(b"\n")
        return Carried(**self._read())

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("a SlowLine is used as a context manager")
        return self._process

    def _read(self) -> dict[str, Any]:
        """Return the next line that the relay says; it says one at a time, so none is left behind it."""
        said = self._running.stdout
        if said is None or not select.select([said], [], [], _ANSWER_SECONDS)[0]:
            raise RuntimeError(f"the relay to {self._server} said nothing within {_ANSWER_SECONDS} s")
        text = said.readline()
        if not text:
            raise RuntimeError(f"the relay to {self._server} has ended")
        return json.loads(text)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # Closes its standard input, at which it ends, and waits.
            try:
                process.communicate(timeout=_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
