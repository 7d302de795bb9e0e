"""One request on one connection of our own client, against misbehaving servers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

import pytest

from image_syncer.errors import ProtocolError, Unavailable
from image_syncer.registry.http.transport import Request, RequestBody, Transport
from image_syncer.roles import Chunk
from support.http_exchange import VERIFY, Open, Serve, exchange

pytestmark = pytest.mark.usefixtures("io_threads")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def status_and_body(transport: Transport, request: Request) -> tuple[int, bytes]:
    """Send *request*; return status and body of the response."""
    status, _, content = await exchange(transport, request)
    return status, content


@pytest.fixture
def canned_server(listen: Serve) -> Callable[[bytes], Awaitable[str]]:
    """Start a server that responds to every request with the same bytes; awaiting it gives its URL."""

    async def start(response: bytes) -> str:
        async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(response)

        return f"http://127.0.0.1:{await listen(serve_connection)}/"

    return start


def test_our_client_does_not_import_the_http_library() -> None:
    """The import costs 0.2 s of CPU, and only proxies need it."""
    code = "import sys, image_syncer.registry.registries; print({'aiohttp', 'yarl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_informational_responses_are_skipped(
    canned_server: Callable[[bytes], Awaitable[str]], open_transport: Open, method: str
) -> None:
    """Up to twenty of them may precede the response."""
    url = await canned_server(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 20 + OK[: -2 if method == "HEAD" else None]
    )
    assert (await status_and_body(await open_transport(), Request(method, url)))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_too_many_informational_responses_are_an_error(
    canned_server: Callable[[bytes], Awaitable[str]], open_transport: Open, method: str
) -> None:
    """A server cannot delay us with hints without end."""
    url = await canned_server(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21 + OK)
    with pytest.raises(ProtocolError, match="not HTTP"):
        await status_and_body(await open_transport(), Request(method, url))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_head_with_two_lengths_closes_its_connection(listen: Serve, open_transport: Open, method: str) -> None:
    """The bytes behind it could be read as another response."""
    ended = asyncio.Event()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert await reader.read() == b""
        ended.set()

    transport = await open_transport()
    with pytest.raises(ProtocolError, match="the response is not HTTP"):
        await status_and_body(transport, Request(method, f"http://127.0.0.1:{await listen(serve_connection)}/"))
    async with asyncio.timeout(2):
        await ended.wait()


async def test_a_chunked_body_leaves_the_connection_reusable(listen: Serve, open_transport: Open) -> None:
    """Real registries send tag lists with chunked encoding."""
    connections: list[int] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while await reader.readuntil(b"\r\n\r\n"):
            for part in (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3", b"\r\nabc\r", b"\n0\r\n\r\n"):
                writer.write(part)
                await asyncio.sleep(0.01)

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}/", await open_transport()
    assert [await status_and_body(transport, Request("GET", url)) for _ in range(2)] == [(200, b"abc")] * 2
    assert len(connections) == 1


async def test_invalid_chunks_are_a_broken_body(
    canned_server: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """A body without a recognisable end is incomplete."""
    url = await canned_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd")
    with pytest.raises(Unavailable, match="broke off"):
        await status_and_body(await open_transport(), Request("GET", url))


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
async def test_a_body_may_end_with_its_connection(listen: Serve, open_transport: Open, head: bytes) -> None:
    """Old servers do so; the next request opens a new connection."""
    connections: list[int] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"content")

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}/", await open_transport()
    assert [await status_and_body(transport, Request("GET", url)) for _ in range(2)] == [(200, b"content")] * 2
    assert len(connections) == 2


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("PUT", 2), ("POST", 1), ("PATCH", 1)])
async def test_only_idempotent_requests_are_repeated_on_a_new_connection(
    listen: Serve, open_transport: Open, method: str, sent: int
) -> None:
    """The server may already have carried out the others."""
    seen: list[bytes] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = False
        while request := await reader.readuntil(b"\r\n\r\n"):
            if not request.startswith(b"GET /first"):
                seen.append(request)
                if served:
                    return
            served = True
            writer.write(OK)

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}", await open_transport()
    await status_and_body(transport, Request("GET", f"{url}/first"))
    if sent == 1:
        with pytest.raises(Unavailable, match="broke off before a response"):
            await status_and_body(transport, Request(method, f"{url}/second"))
    else:
        assert await status_and_body(transport, Request(method, f"{url}/second")) == (200, b"ok")
    assert len(seen) == sent


@pytest.mark.parametrize("parting", [b"", b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_an_idle_connection_with_unexpected_bytes_is_closed(
    listen: Serve, open_transport: Open, parting: bytes
) -> None:
    """They are never taken for a response, and the next request does not fail, not even a POST."""
    connections: list[int] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(parting)

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}/", await open_transport()
    for _ in range(2):
        assert await status_and_body(transport, Request("POST", url)) == (200, b"ok")
        await asyncio.sleep(0.1)
    assert len(connections) == 2


async def test_bytes_behind_a_response_are_not_the_next_response(
    canned_server: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """The connection is closed, so a forged response is never read."""
    url = await canned_server(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    transport = await open_transport()
    assert [await status_and_body(transport, Request("GET", url)) for _ in range(3)] == [(200, b"ok")] * 3


@pytest.mark.parametrize("reset", [False, True])
async def test_a_response_before_the_end_of_the_request_counts(
    listen: Serve, open_transport: Open, reset: bool
) -> None:
    """A registry that sends 401 and closes the connection has responded with 401."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(200):
            yield bytes(256 * 1024)
            await asyncio.sleep(0)

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        if not reset:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.read()

    request = Request(
        "PUT", f"http://127.0.0.1:{await listen(serve_connection)}/", body=RequestBody(chunks, 200 * 256 * 1024)
    )
    assert await status_and_body(await open_transport(), request) == (401, b"no")


async def test_100_continue_is_no_response(listen: Serve, open_transport: Open) -> None:
    """A 100 while the body is sent does not stop it."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(8):
            yield b"abc"
            await asyncio.sleep(0.02)

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(24) == b"abc" * 8
        writer.write(OK)

    request = Request("PUT", f"http://127.0.0.1:{await listen(serve_connection)}/", body=RequestBody(chunks, 24))
    assert await status_and_body(await open_transport(), request) == (200, b"ok")


async def test_a_cancelled_request_closes_its_connection_at_once(listen: Serve, open_transport: Open) -> None:
    """An interrupted run leaves no socket open."""
    received_request, ended = asyncio.Event(), asyncio.Event()

    async def serve_connection(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received_request.set()
        assert await reader.read() == b""
        ended.set()

    transport = await open_transport()
    async with asyncio.timeout(2), asyncio.TaskGroup() as group:
        task = group.create_task(
            status_and_body(transport, Request("GET", f"http://127.0.0.1:{await listen(serve_connection)}/"))
        )
        await received_request.wait()
        task.cancel()
        await ended.wait()


async def test_chunks_are_views_of_one_buffer(
    canned_server: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """A large body is received without a copy, and unchanged."""
    content = bytes(range(256)) * 8192
    url = await canned_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    received, kinds = bytearray(), set[type[object]]()
    async with (await open_transport()).request(Request("GET", url), tls=VERIFY) as response:
        async for chunk in response.chunks():
            received += chunk
            kinds.add(type(chunk))
    assert (received == content, kinds) == (True, {memoryview})
