"""One request on one connection of our own, against servers that behave badly."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

import pytest

from image_syncer.errors import ProtocolError, Unavailable
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, RequestBody, Transport
from image_syncer.registry.settings import Limits
from image_syncer.roles import Chunk

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]

VERIFY = TlsPolicy("127.0.0.1")
IMPATIENT = Limits(connect_seconds=0.5, stall_seconds=0.3)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ask(transport: Transport, request: Request) -> tuple[int, bytes]:
    """Send and read everything."""
    async with transport.request(request, tls=VERIFY) as response:
        return response.status, await response.read(10_000_000)


@pytest.fixture
def answering(listen: Serve) -> Callable[[bytes], Awaitable[str]]:
    """A server on demand that answers every request with the same bytes; awaiting it gives its URL."""

    async def start(answer: bytes) -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)

        return f"http://127.0.0.1:{await listen(talk)}/"

    return start


def test_the_client_needs_no_http_library() -> None:
    """The library costs 0.2 s of CPU, and is for proxies alone."""
    code = "import sys, image_syncer.registry.registries; print({'aiohttp', 'yarl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_informational_answers_are_passed_over(
    answering: Callable[[bytes], Awaitable[str]], open_transport: Open, method: str
) -> None:
    """A 103 is no answer, and neither are twenty of them."""
    url = await answering(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 20 + OK[: -2 if method == "HEAD" else None])
    assert (await ask(await open_transport(), Request(method, url)))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_flood_of_informational_answers_is_not_http(
    answering: Callable[[bytes], Awaitable[str]], open_transport: Open, method: str
) -> None:
    """Nobody is kept waiting by hints for ever."""
    url = await answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21 + OK)
    with pytest.raises(ProtocolError, match="not HTTP"):
        await ask(await open_transport(), Request(method, url))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_head_with_two_lengths_closes_its_connection(listen: Serve, open_transport: Open, method: str) -> None:
    """What follows it might be anybody's answer."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert await reader.read() == b""
        ended.set()

    transport = await open_transport()
    with pytest.raises(ProtocolError, match="the answer is not HTTP"):
        await ask(transport, Request(method, f"http://127.0.0.1:{await listen(talk)}/"))
    async with asyncio.timeout(2):
        await ended.wait()


async def test_chunks_are_read_and_the_connection_serves_again(listen: Serve, open_transport: Open) -> None:
    """Real registries list their tags in chunks."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while await reader.readuntil(b"\r\n\r\n"):
            for part in (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3", b"\r\nabc\r", b"\n0\r\n\r\n"):
                writer.write(part)
                await asyncio.sleep(0.01)

    url, transport = f"http://127.0.0.1:{await listen(talk)}/", await open_transport()
    assert [await ask(transport, Request("GET", url)) for _ in range(2)] == [(200, b"abc")] * 2
    assert len(connections) == 1


async def test_chunks_that_are_none_break_the_answer_off(
    answering: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """A body whose end can not be found is not a whole one."""
    url = await answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd")
    with pytest.raises(Unavailable, match="broke off"):
        await ask(await open_transport(), Request("GET", url))


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
async def test_a_body_may_end_with_its_connection(listen: Serve, open_transport: Open, head: bytes) -> None:
    """As old servers have it; the next request takes a new connection."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"content")

    url, transport = f"http://127.0.0.1:{await listen(talk)}/", await open_transport()
    assert [await ask(transport, Request("GET", url)) for _ in range(2)] == [(200, b"content")] * 2
    assert len(connections) == 2


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("PUT", 2), ("POST", 1), ("PATCH", 1)])
async def test_a_kept_connection_that_ended_is_replaced_where_that_is_safe(
    listen: Serve, open_transport: Open, method: str, sent: int
) -> None:
    """What may have been done already is not done twice."""
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = False
        while request := await reader.readuntil(b"\r\n\r\n"):
            if not request.startswith(b"GET /first"):
                seen.append(request)
                if served:
                    return
            served = True
            writer.write(OK)

    url, transport = f"http://127.0.0.1:{await listen(talk)}", await open_transport()
    await ask(transport, Request("GET", f"{url}/first"))
    if sent == 1:
        with pytest.raises(Unavailable, match="broke off before an answer"):
            await ask(transport, Request(method, f"{url}/second"))
    else:
        assert await ask(transport, Request(method, f"{url}/second")) == (200, b"ok")
    assert len(seen) == sent


@pytest.mark.parametrize("parting", [b"", b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_an_idle_connection_that_stirs_is_dropped(listen: Serve, open_transport: Open, parting: bytes) -> None:
    """What a server says unasked, or its end, is never taken for an answer; not even a POST fails of it."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(parting)

    url, transport = f"http://127.0.0.1:{await listen(talk)}/", await open_transport()
    for _ in range(2):
        assert await ask(transport, Request("POST", url)) == (200, b"ok")
        await asyncio.sleep(0.1)
    assert len(connections) == 2


async def test_more_than_an_answer_is_never_the_next_one(
    answering: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """A forged answer behind an answer meets a closed door."""
    url = await answering(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    transport = await open_transport()
    assert [await ask(transport, Request("GET", url)) for _ in range(3)] == [(200, b"ok")] * 3


@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_before_the_end_of_a_body_is_the_answer(
    listen: Serve, open_transport: Open, reset: bool
) -> None:
    """A registry that answers 401 and hangs up on the rest has answered 401."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(200):
            yield bytes(256 * 1024)
            await asyncio.sleep(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        if not reset:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.read()

    request = Request("PUT", f"http://127.0.0.1:{await listen(talk)}/", body=RequestBody(chunks, 200 * 256 * 1024))
    assert await ask(await open_transport(), request) == (401, b"no")


async def test_going_on_is_no_answer(listen: Serve, open_transport: Open) -> None:
    """A 100 in the middle of a body stops nothing."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(8):
            yield b"abc"
            await asyncio.sleep(0.02)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(24) == b"abc" * 8
        writer.write(OK)

    request = Request("PUT", f"http://127.0.0.1:{await listen(talk)}/", body=RequestBody(chunks, 24))
    assert await ask(await open_transport(), request) == (200, b"ok")


async def test_a_cancelled_request_closes_its_connection_at_once(listen: Serve, open_transport: Open) -> None:
    """A run that is interrupted leaves no socket behind."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        ended.set()

    transport = await open_transport()
    async with asyncio.timeout(2), asyncio.TaskGroup() as group:
        task = group.create_task(ask(transport, Request("GET", f"http://127.0.0.1:{await listen(talk)}/")))
        await asked.wait()
        task.cancel()
        await ended.wait()


async def test_chunks_are_views_of_one_buffer(
    answering: Callable[[bytes], Awaitable[str]], open_transport: Open
) -> None:
    """A large body is received without a copy, and comes out as it is."""
    content = bytes(range(256)) * 8192
    url = await answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    received, kinds = bytearray(), set[type[object]]()
    async with (await open_transport()).request(Request("GET", url), tls=VERIFY) as response:
        async for chunk in response.chunks():
            received += chunk
            kinds.add(type(chunk))
    assert (received == content, kinds) == (True, {memoryview})
