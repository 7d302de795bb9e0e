"""The HTTP/1.1 protocol of a connection: uvicorn's, stricter about heads and fair when connections run out."""

import asyncio
import re
import resource
import socket
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar, Final, cast

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_LIMIT: Final = 32 * 1024

_MOST_CONNECTIONS: Final = 1000

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_FOLDED: Final = re.compile(rb"\r\n[ \t]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length[ \t]*:", re.IGNORECASE)
_ENCODING: Final = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)


def _connection_limit() -> int:
    """Return the number of connections to accept: half of the descriptors of the process, the rest is for its work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, max(1, soft // 2))


class StrictReceiveBuffer(ReceiveBuffer):
    """Refuses heads that servers read differently (request smuggling, RFC 9112 section 11.2), and huge ones.

    h11 accepts lines that end in a bare LF, folded lines (obsolete since RFC 7230), and Content-Length beside
    Transfer-Encoding. It looks at the buffer only, so this also covers pipelined requests.
    """

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines of the next head; `RemoteProtocolError` for one that is refused."""
        end = self._data.find(b"\r\n\r\n")
        head = bytes(self._data if end < 0 else self._data[: end + 2])
        if len(head) > HEAD_LIMIT:
            raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        if _BARE_LF.search(head):
            raise h11.RemoteProtocolError("a line ends without CR")
        if _FOLDED.search(head):
            raise h11.RemoteProtocolError("a header is folded")
        if _LENGTH.search(head) and _ENCODING.search(head):
            raise h11.RemoteProtocolError("Content-Length beside Transfer-Encoding")
        return super().maybe_extract_lines()


class StrictProtocol(H11Protocol):
    """One connection. *waiting_since* is the time of the loop since which no request is in progress."""

    most_connections: ClassVar[int] = _connection_limit()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accept a connection; close an idle one if there are too many.

        The victim comes from the address with the most connections, so one address cannot lock out the others.
        """
        super().connection_made(transport)
        self.conn._receive_buffer = StrictReceiveBuffer()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - h11 has no option for it
        self.waiting_since = self.loop.time()
        listener: socket.socket | None = transport.get_extra_info("socket")
        if listener is not None and listener.family in {socket.AF_INET, socket.AF_INET6}:
            # asyncio sets this only where the protocol number is known, which it is not for accepted sockets. Without
            # it each answer in two writes waits for the client's delayed acknowledgement, 40 ms on Linux.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.most_connections:
            close_idle_connection(each for each in self.connections if each is not self)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def has_waited(self, now: float, seconds: float) -> bool:
        """Whether the client owes the head of a request for *seconds*."""
        return self.is_waiting and now - self.waiting_since >= seconds

    @property
    def last_request(self) -> RequestResponseCycle | None:
        """The last request whose head was complete; None before the first one."""
        return cast("RequestResponseCycle | None", self.cycle)

    @property
    def is_waiting(self) -> bool:
        """Whether the client has to send the head of a request."""
        return self.last_request is None or self.last_request.response_complete


def close_silent_connections(connections: Iterable[object], now: float, *, seconds: float) -> None:
    """Close connections that have sent no complete head for *seconds*: uvicorn waits for it without a limit."""
    for connection in list(connections):
        if isinstance(connection, StrictProtocol) and connection.has_waited(now, seconds):
            connection.transport.close()


def close_idle_connection(connections: Iterable[object]) -> None:
    """Close the connection that has waited longest for a head, of the address with the most connections."""
    idle = [each for each in connections if isinstance(each, StrictProtocol) and each.is_waiting]
    if not idle:
        return
    by_address = Counter(each.client[0] if each.client else "" for each in idle)
    [(address, _)] = by_address.most_common(1)
    candidates = [each for each in idle if (each.client[0] if each.client else "") == address]
    min(candidates, key=lambda each: each.waiting_since).transport.close()
