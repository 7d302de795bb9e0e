"""Bodies that stream, against servers on loopback."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from aiohttp import web

from image_syncer.errors import (
    ContentMismatch,
    Unavailable,
)
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    Headers,
    Request,
    RequestBody,
    Transport,
)
from image_syncer.registry.settings import Limits
from image_syncer.roles import Chunk

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Tunnel = Callable[[int], Awaitable[str]]

pytestmark = pytest.mark.parametrize(
    "sockets", [True, False], ids=["sockets", "aiohttp"]
)  # Nobody can tell which served.

VERIFY = TlsPolicy("127.0.0.1")
IMPATIENT = Limits(connect_seconds=2.0, stall_seconds=0.3)


async def ask(transport: Transport, request: Request, tls: TlsPolicy = VERIFY) -> tuple[int, Headers, bytes]:
    """Send and read everything."""
    async with transport.request(request, tls=tls) as response:
        return response.status, response.headers, await response.read(64 * 1024 * 1024)


async def echo(request: web.BaseRequest) -> web.Response:
    """Give back what came."""
    return web.Response(
        status=201, body=await request.content.read(), headers={"X-Length": str(request.content_length)}
    )


def repeated(chunk: bytes, times: int) -> Callable[[], AsyncGenerator[Chunk]]:
    """Return a body of equal chunks."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(times):
            yield chunk

    return chunks


class Watched:
    """An endless body that knows when it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield for ever."""
        try:
            while True:
                yield bytes(256 * 1024)
        finally:
            self.closed = True


@pytest.mark.parametrize(("length", "announced"), [(300_000, "300000"), (None, "None")])
async def test_a_body_streams_with_its_length_or_in_chunks(
    serve: Serve, open_transport: Open, length: int | None, announced: str
) -> None:
    """A known length is announced, an unknown one is not invented."""
    request = Request(
        "PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(repeated(b"abc" * 1000, 100), length)
    )
    status, headers, content = await ask(await open_transport(), request)
    assert (status, headers.get("X-Length"), content) == (201, announced, b"abc" * 100_000)


async def test_large_bytes_go_out_whole(serve: Serve, open_transport: Open) -> None:
    """A body in memory may be as large as a small blob."""
    body = bytes(range(256)) * 8192
    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=body)
    status, headers, content = await ask(await open_transport(), request)
    assert (status, headers.get("X-Length"), content == body) == (201, str(len(body)), True)


async def test_a_reused_buffer_is_not_overtaken(serve: Serve, open_transport: Open) -> None:
    """A chunk is valid only until the next one is asked for, whatever the network still holds of it."""
    buffer = bytearray(1_200_000)

    async def chunks() -> AsyncGenerator[Chunk]:
        for number in range(10):
            buffer[:] = bytes([number]) * len(buffer)
            yield memoryview(buffer)

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 12_000_000))
    content = (await ask(await open_transport(), request))[2]
    assert content == b"".join(bytes([number]) * len(buffer) for number in range(10))


@pytest.mark.parametrize("failure", [ContentMismatch("wrong"), Unavailable("source"), OSError("disk"), KeyError("k")])
async def test_the_failure_of_a_body_comes_out_as_it_is(serve: Serve, open_transport: Open, failure: Exception) -> None:
    """Whoever reads at one side and writes at the other must know which side failed."""

    async def chunks() -> AsyncGenerator[Chunk]:
        yield b"begin"
        raise failure

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 100))
    with pytest.raises(type(failure)) as raised:
        await ask(await open_transport(), request)
    assert raised.value is failure


@pytest.mark.parametrize("length", [4, 11])
async def test_a_body_that_breaks_its_word_is_refused(serve: Serve, open_transport: Open, length: int) -> None:
    """What is shorter or longer than announced never looks complete."""
    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(repeated(b"abcde", 2), length))
    with pytest.raises(ContentMismatch, match="body"):
        await ask(await open_transport(), request)


async def test_an_early_answer_ends_the_upload(listen: Serve, open_transport: Open) -> None:
    """Who is refused at the door does not send ten gigabytes first."""
    body = Watched()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.sleep(10)

    request = Request("PUT", f"http://127.0.0.1:{await listen(talk)}/", body=RequestBody(body.chunks, 10**12))
    async with asyncio.timeout(5):
        status, _, content = await ask(await open_transport(), request)
    assert (status, content, body.closed) == (413, b"big", True)


async def test_an_upload_that_is_not_taken_is_given_up(listen: Serve, open_transport: Open) -> None:
    """A server that stops reading holds us no longer than the stall time."""
    body = Watched()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    request = Request("PUT", f"http://127.0.0.1:{await listen(talk)}/", body=RequestBody(body.chunks, 10**12))
    transport = await open_transport(IMPATIENT)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="nothing was sent or received"):
            await ask(transport, request)
    assert body.closed


async def test_a_slow_source_is_no_stall(serve: Serve, open_transport: Open) -> None:
    """Waiting for the other side is not held against this one."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(2):
            await asyncio.sleep(0.5)
            yield b"abc"

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 6))
    assert (await ask(await open_transport(IMPATIENT), request))[2] == b"abcabc"


async def test_a_cancelled_upload_closes_its_body(listen: Serve, open_transport: Open) -> None:
    """Nothing is left open behind a run that was interrupted."""
    body = Watched()
    started = asyncio.Event()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        started.set()
        await asyncio.sleep(10)

    request = Request("PUT", f"http://127.0.0.1:{await listen(talk)}/", body=RequestBody(body.chunks, 10**12))
    transport = await open_transport()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ask(transport, request))
        await started.wait()
        await asyncio.sleep(0.1)
        task.cancel()
    assert body.closed
