"""A TCP relay that simulates a line: latency, a rate per connection, bytes in order and unchanged.

python relay.py HOST PORT LATENCY_SECONDS BYTES_PER_SECOND [TO_SERVER_BYTES TO_CLIENT_BYTES]     (0: no limit)

With the last two it is a bad line, which cuts every connection after that many bytes in that direction.

It is a separate process that imports only the standard library, so it starts at once and does not disturb the
measurement. It prints its port and then, for each line on its standard input, its traffic so far, all as JSON. It ends
when its standard input closes, and so together with its parent.
"""

import asyncio
import fcntl
import json
import socket
import struct
import sys
import termios
from collections import deque
from contextlib import closing
from dataclasses import asdict, dataclass

_CHUNK_BYTES = 64 * 1024
_UNLIMITED_BYTES = 4 * 1024 * 1024
_KERNEL_BYTES = 256 * 1024
_SLACK_SECONDS = 0.02
_CONNECTIONS = 256
_LAST_BYTES_SECONDS = 2.0
_LAST_BYTES_POLL_SECONDS = 0.001
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class RelayLine:
    """The properties of a line: *latency_seconds* is a round trip, half of it each way; 0 adds none.

    *bytes_per_second* limits each connection in each direction separately; 0 means no limit. Both ends of a connection
    are cut once *to_server_bytes* or *to_client_bytes* were delivered; None never cuts.
    """

    latency_seconds: float = 0.0
    bytes_per_second: float = 0.0
    to_server_bytes: int | None = None
    to_client_bytes: int | None = None

    @property
    def held_bytes(self) -> int:
        """The limit of bytes in flight, in one direction of one connection; beyond it the sender waits."""
        on_the_way = self.bytes_per_second * (self.latency_seconds / 2 + _SLACK_SECONDS)
        return round(on_the_way) + _CHUNK_BYTES if self.bytes_per_second else _UNLIMITED_BYTES


@dataclass(slots=True)
class Carried:
    """The traffic of a line: all bytes of both directions (with headers and TLS), connections, and cut connections."""

    to_server: int = 0
    to_client: int = 0
    connections: int = 0
    cuts: int = 0


class LineCut(Exception):
    """A direction has delivered its last byte."""


class Direction:
    """One direction of one connection, which delivers at most *most* bytes, None for all.

    It reads nothing before *opens_at*, a time of the loop.
    """

    def __init__(self, line: RelayLine, most: int | None, incoming: socket.socket, outgoing: socket.socket) -> None:
        self.delivered = 0
        self.opens_at = 0.0
        self._line = line
        self._most = most
        self._taken = 0
        self._incoming = incoming
        self._outgoing = outgoing
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._changed = asyncio.Event()

    async def read(self) -> None:
        """Read while there is room, and note when each piece arrives at the other end."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.opens_at - loop.time())
        free_at = 0.0
        rate, one_way = self._line.bytes_per_second, self._line.latency_seconds / 2
        while self._most is None or self._taken < self._most:
            while self._held >= self._line.held_bytes:
                await self._change()
            data = await loop.sock_recv(self._incoming, self._next_bytes)
            self._taken += len(data)
            free_at = max(free_at, loop.time()) + (len(data) / rate if rate else 0.0)
            self._waiting.append((free_at + one_way, data))
            self._held += len(data)
            self._changed.set()
            if not data:
                return

    async def write(self) -> None:
        """Deliver what has arrived, in order, and then the end of the stream. `LineCut` after the last allowed byte."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                await self._change()
            due, data = self._waiting.popleft()
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            if not data:
                self._outgoing.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(self._outgoing, data)
            self.delivered += len(data)
            self._held -= len(data)
            self._changed.set()
            if self.delivered == self._most:
                await self._arrive()
                raise LineCut

    @property
    def _next_bytes(self) -> int:
        return _CHUNK_BYTES if self._most is None else min(_CHUNK_BYTES, self._most - self._taken)

    async def _arrive(self) -> None:
        """Wait until the peer's system has all bytes: a reset discards bytes that are still to be sent."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST_BYTES_SECONDS
        while _unsent_bytes(self._outgoing) and loop.time() < deadline:  # noqa: ASYNC110 - the system sends no event
            await asyncio.sleep(_LAST_BYTES_POLL_SECONDS)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Relay:
    """Accepts connections and carries each to *server* over its own line; *carried* counts."""

    def __init__(self, server: tuple[str, int], line: RelayLine) -> None:
        self._server = server
        self._line = line
        self._ended = Carried()
        self._open: set[tuple[Direction, Direction]] = set()

    @property
    def carried(self) -> Carried:
        """The traffic delivered so far."""
        to_server = self._ended.to_server + sum(up.delivered for up, _ in self._open)
        to_client = self._ended.to_client + sum(down.delivered for _, down in self._open)
        return Carried(to_server, to_client, self._ended.connections + len(self._open), self._ended.cuts)

    async def accept(self, listening: socket.socket) -> None:
        """Accept connections until cancelled; connections beyond a limit wait."""
        loop = asyncio.get_running_loop()
        free = asyncio.Semaphore(_CONNECTIONS)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                client, _ = await loop.sock_accept(listening)
                task = group.create_task(self._carry(client))
                task.add_done_callback(lambda _: free.release())

    async def _carry(self, client: socket.socket) -> None:
        """Serve one connection; if one end breaks it or is absent, the other end is disconnected too."""
        with closing(client), closing(_socket()) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up = Direction(self._line, self._line.to_server_bytes, client, server)
            down = Direction(self._line, self._line.to_client_bytes, server, client)
            self._open.add((up, down))
            try:
                await self._talk(server, up, down)
            except* LineCut:
                self._ended.cuts += 1
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except* OSError:
                pass  # Closing both sockets informs the remaining end.
            finally:
                self._open.discard((up, down))
                self._ended.to_server += up.delivered
                self._ended.to_client += down.delivered
                self._ended.connections += 1

    async def _talk(self, server: socket.socket, up: Direction, down: Direction) -> None:
        loop = asyncio.get_running_loop()
        # The system has accepted the connection already. On a real line the client waits for a round trip before the
        # first byte, so the first byte waits here.
        up.opens_at = down.opens_at = loop.time() + self._line.latency_seconds
        await loop.sock_connect(server, self._server)
        async with asyncio.TaskGroup() as group:
            for work in (up.read, up.write, down.read, down.write):
                group.create_task(work())


def _socket() -> socket.socket:
    """Return a socket with kernel buffers that are small beside a line, so that the line sets the pace."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BYTES)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.settimeout(0)
    return made


def _unsent_bytes(outgoing: socket.socket) -> int:
    """Return the number of bytes that the other end has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(outgoing, termios.TIOCOUTQ, bytes(4)))[0]


async def _serve(server: tuple[str, int], line: RelayLine) -> None:
    with closing(_socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(_CONNECTIONS)
        _say({"port": listening.getsockname()[1]})
        relay = Relay(server, line)
        questions = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(questions), sys.stdin.buffer
        )
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(relay.accept(listening))
            while await questions.readline():
                _say(asdict(relay.carried))
            accepting.cancel()


def _say(document: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    HOST, PORT, LATENCY, RATE, *CUTS = sys.argv[1:]
    asyncio.run(_serve((HOST, int(PORT)), RelayLine(float(LATENCY), float(RATE), *(int(CUT) or None for CUT in CUTS))))
