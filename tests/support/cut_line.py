"""A connection to a server that is cut after so many bytes, and counts its traffic.

with CutLine(registry.host, to_client_bytes=64 * MIB, to_server_bytes=64 * MIB) as line:
    ...  # talk to line.host
    assert line.carried().cuts == 16
"""

from typing import Final

from support.relay import Carried, RelayLine
from support.slow_line import SlowLine

__all__ = ["Carried", "CutLine", "RelayLine"]

_PLAIN: Final = RelayLine()


class CutLine(SlowLine):
    """A relay process to the server at *host* (`127.0.0.1:port`); a context manager.

    Once *to_server_bytes* or *to_client_bytes* of one connection were delivered, both ends get a TCP reset; None never
    cuts that direction. *line* adds latency and a rate.
    """

    def __init__(
        self,
        host: str,
        *,
        to_server_bytes: int | None = None,
        to_client_bytes: int | None = None,
        line: RelayLine = _PLAIN,
    ) -> None:
        if any(most is not None and most < 1 for most in (to_server_bytes, to_client_bytes)):
            raise ValueError("a line must let at least 1 byte through")
        super().__init__(host, RelayLine(line.latency_seconds, line.bytes_per_second, to_server_bytes, to_client_bytes))
