"""Connections: heads that are refused, answers without delay, and room for others when connections run out."""

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest

from image_syncer.server.http_protocol import HEAD_LIMIT, StrictProtocol
from image_syncer.server.server_settings import HookSource, ServerSettings
from server.serving import Running, running
from server.test_hooks import envelope
from support.tries import least_seconds

SETTINGS = ServerSettings(hooks={"open": HookSource("distribution", "registry.example.com")})
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /hooks/open HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """An open server on loopback."""
    async with running(SETTINGS) as server:
        yield server


async def answer(site: Running, *sent: bytes) -> bytes:
    """Return everything that the server sends to *sent* until it closes."""
    reader, writer = await asyncio.open_connection(site.listen.host, site.listen.port)
    for part in sent:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.02)
    async with asyncio.timeout(5):
        received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize(
    "head",
    [
        GET.replace(b"\r\n", b"\n") + b"\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n",
        GET + b"X: 1\n\r\n",
        GET + b"X: 1\r\n folded\r\n\r\n",
        GET + b"X: 1\r\n\tfolded\r\n\r\n",
        GET + b"X: " + b"a" * HEAD_LIMIT + b"\r\n\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\nCONTENT-LENGTH: 2\r\n\r\n0\r\n\r\n",
    ],
    ids=["LF", "LF first", "LF last", "folded", "folded by tab", "large", "length and encoding", "encoding and length"],
)
async def test_ambiguous_and_large_heads_are_refused(site: Running, head: bytes) -> None:
    """400, and the connection is closed, so nothing behind such a head is read as a request."""
    received = await answer(site, head + GET + b"\r\n")
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1
    assert not await site.events()


async def test_a_pipelined_head_is_checked_as_well(site: Running) -> None:
    """It arrives together with the request before it, whose body hides it from a look at the received bytes."""
    body = envelope()
    first = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    second = POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    received = await answer(site, first + second)
    assert (received.count(b"HTTP/1.1 202"), received.count(b"HTTP/1.1 400")) == (1, 1)


@pytest.mark.parametrize("split", [1, 20, 60])
async def test_ordinary_heads_are_accepted_in_pieces(site: Running, split: int) -> None:
    """Up to the limit, and chunked bodies with trailers."""
    body = envelope()
    chunks = b"%x\r\n" % len(body) + body + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
    request = POST + b"X: " + b"a" * 20_000 + b"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks
    received = await answer(site, request[:split], request[split:])
    assert received.startswith(b"HTTP/1.1 202")


async def test_answers_on_a_kept_connection_are_immediate(site: Running) -> None:
    """TCP_NODELAY is set: otherwise each answer waits about 40 ms for a delayed acknowledgement."""

    async def ask_twenty_times() -> None:
        reader, writer = await asyncio.open_connection(site.listen.host, site.listen.port)
        for _ in range(20):
            writer.write(GET + b"\r\n")
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        writer.close()

    assert await least_seconds(ask_twenty_times, below=0.3) < 0.3


async def test_no_delay_is_set_on_accepted_sockets(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the speed of this machine."""
    values: list[int] = []
    made = StrictProtocol.connection_made

    def connection_made(self: StrictProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        accepted = transport.get_extra_info("socket")
        values.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(StrictProtocol, "connection_made", connection_made)
    assert await site.status("GET", "/healthz") == 200
    assert values
    assert all(values)


async def test_idle_connections_make_room(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many strangers connect and say nothing, a probe is answered."""
    monkeypatch.setattr(StrictProtocol, "most_connections", 20)
    idle = [await asyncio.open_connection(site.listen.host, site.listen.port) for _ in range(60)]
    for _ in range(3):
        assert await answer(site, GET + b"Connection: close\r\n\r\n") != b""
    closed = 0
    for reader, writer in idle:
        closed += reader.at_eof()
        writer.close()
    assert closed >= 40


async def test_a_busy_connection_is_not_closed_for_others(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that waits for a head makes room."""
    monkeypatch.setattr(StrictProtocol, "most_connections", 5)
    site.databases.delay = 1.0
    async with asyncio.TaskGroup() as group:
        busy = group.create_task(site.status("POST", "/hooks/open", data=envelope()))
        await asyncio.sleep(0.2)
        idle = [await asyncio.open_connection(site.listen.host, site.listen.port) for _ in range(20)]
    assert busy.result() == 202
    for _, writer in idle:
        writer.close()


async def test_the_address_with_the_most_connections_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who takes all connections loses them, not the others."""
    monkeypatch.setattr(StrictProtocol, "most_connections", 20)
    async with running(SETTINGS) as site:
        reader, writer = await asyncio.open_connection(site.listen.host, site.listen.port, local_addr=("127.0.0.2", 0))
        strangers = [await asyncio.open_connection(site.listen.host, site.listen.port) for _ in range(40)]
        writer.write(GET + b"\r\n")
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        for _, other in strangers:
            other.close()
