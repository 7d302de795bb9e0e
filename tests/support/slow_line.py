"""A server behind a slow line: how a distant registry looks, and how many bytes went there.

with SlowLine(registry.host, FAR) as line:
    ...  # talk to line.host
    assert line.carried().to_client < 1_000_000
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support.relay import Carried, RelayLine
from support.subprocess_helper import HelperProcess

__all__ = ["FAR", "Carried", "RelayLine", "SlowLine"]

FAR: Final = RelayLine(latency_seconds=0.05, bytes_per_second=20 * 1024 * 1024)
"""Another region: a round trip of 50 ms, and 20 MiB/s per connection."""


class SlowLine:
    """A relay process to the server at *host* (`127.0.0.1:port`); a context manager."""

    def __init__(self, host: str, line: RelayLine) -> None:
        self._server = host
        self._line = line
        self._child: HelperProcess | None = None

    def __enter__(self) -> Self:
        name, _, port = self._server.rpartition(":")
        line = self._line
        figures = line.latency_seconds, line.bytes_per_second, line.to_server_bytes or 0, line.to_client_bytes or 0
        self._child = HelperProcess(Path(__file__).with_name("relay.py"), [name, port, *map(str, figures)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.stop()

    @property
    def host(self) -> str:
        """The address of the near end: `127.0.0.1:port`."""
        return f"127.0.0.1:{self._running.ready['port']}"

    @property
    def pid(self) -> int:
        """The pid of the relay."""
        return self._running.pid

    def carried(self) -> Carried:
        """Return the traffic so far."""
        return Carried(**self._running.ask())

    @property
    def _running(self) -> HelperProcess:
        if self._child is None:
            raise RuntimeError("a SlowLine is used as a context manager")
        return self._child
