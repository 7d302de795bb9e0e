import os
import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from threading import Thread

import pytest

from support.cut_line import Carried, CutLine, RelayLine

KIB = 1024
CONTENT = os.urandom(300 * KIB)
Talk = Callable[[socket.socket], None]


@contextmanager
def server(talk: Talk) -> Generator[str]:
    """A server that runs *talk* with one connection after the other; yields its host."""

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                if connection.recv(1) == b"!":
                    return
                talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve)
        thread.start()
        host, port = listening.getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            with socket.create_connection((host, port), timeout=5) as last:
                last.sendall(b"!")
            thread.join(5)


def read_to_the_end(connection: socket.socket) -> tuple[bytes, bool]:
    """Return the received bytes, and whether a reset ended them."""
    got = bytearray()
    try:
        while data := connection.recv(64 * KIB):
            got += data
    except ConnectionResetError:
        return bytes(got), True
    return bytes(got), False


def dial(line: CutLine) -> socket.socket:
    """Open a connection over *line* and send one byte."""
    name, _, port = line.host.partition(":")
    connection = socket.create_connection((name, int(port)), timeout=10)
    connection.sendall(b"?")
    return connection


def give(connection: socket.socket) -> None:
    """Send the content."""
    connection.settimeout(10)
    try:
        connection.sendall(CONTENT)
    except (ConnectionResetError, BrokenPipeError):
        return


def test_a_download_is_cut_after_the_exact_number_of_bytes() -> None:
    """The receiver gets exactly the first bytes and then a reset, not an orderly end."""
    with server(give) as host, CutLine(host, to_client_bytes=100 * KIB) as line:
        for _ in range(2):
            with dial(line) as connection:
                assert read_to_the_end(connection) == (CONTENT[: 100 * KIB], True)
        assert line.carried() == Carried(to_server=2, to_client=200 * KIB, connections=2, cuts=2)


def test_an_upload_is_cut_at_both_ends() -> None:
    """The server gets a reset while reading, and so does the sender."""
    read: list[tuple[bytes, bool]] = []
    with (
        server(lambda connection: read.append(read_to_the_end(connection))) as host,
        CutLine(host, to_server_bytes=100 * KIB) as line,
        dial(line) as connection,
    ):
        give(connection)
        assert read_to_the_end(connection) == (b"", True)
        carried = line.carried()
    assert read == [(CONTENT[: 100 * KIB - 1], True)]
    assert carried == Carried(to_server=100 * KIB, to_client=0, connections=1, cuts=1)


def test_a_connection_below_the_limit_is_not_cut() -> None:
    """A connection with one byte less ends normally; each connection counts separately."""
    with server(give) as host, CutLine(host, to_client_bytes=len(CONTENT) + 1, to_server_bytes=2) as line:
        for _ in range(2):
            with dial(line) as connection:
                assert read_to_the_end(connection) == (CONTENT, False)
        assert line.carried() == Carried(2, 2 * len(CONTENT), connections=2, cuts=0)


def test_one_direction_alone_can_be_cut() -> None:
    """None lets everything through."""
    with server(give) as host, CutLine(host, to_server_bytes=10) as line, dial(line) as connection:
        assert read_to_the_end(connection) == (CONTENT, False)


def test_a_cut_line_can_be_slow_as_well() -> None:
    """Latency and rate delay the bytes without losing any, and the cut comes at the same byte."""
    long_line = RelayLine(latency_seconds=0.02, bytes_per_second=1024 * KIB)
    with server(give) as host, CutLine(host, to_client_bytes=150 * KIB, line=long_line) as line, dial(line) as far:
        assert read_to_the_end(far) == (CONTENT[: 150 * KIB], True)


def test_many_connections_are_cut_separately() -> None:
    """The traffic of one does not affect the others."""
    with server(give) as host, CutLine(host, to_client_bytes=50 * KIB) as line, ExitStack() as stack:
        connections = [stack.enter_context(dial(line)) for _ in range(5)]
        assert [read_to_the_end(connection) for connection in connections] == [(CONTENT[: 50 * KIB], True)] * 5


@pytest.mark.parametrize("most", [0, -1])
def test_a_limit_below_one_byte_is_refused(most: int) -> None:
    """No request would ever get a response: a mistake in the test."""
    with pytest.raises(ValueError, match="at least 1 byte"):
        CutLine("127.0.0.1:9", to_client_bytes=most)
