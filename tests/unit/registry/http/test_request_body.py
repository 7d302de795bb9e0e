"""Streaming request bodies, against servers on loopback."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from image_syncer.errors import (
    ContentMismatch,
    Unavailable,
)
from image_syncer.registry.http.transport import (
    Request,
    RequestBody,
)
from image_syncer.roles import Chunk
from support.http_exchange import IMPATIENT, Open, Serve, both_transports, echo, exchange

pytestmark = both_transports


def repeated(chunk: bytes, times: int) -> Callable[[], AsyncGenerator[Chunk]]:
    """Return a body of equal chunks."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(times):
            yield chunk

    return chunks


class EndlessBody:
    """An endless body that records when it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield without end."""
        try:
            while True:
                yield bytes(256 * 1024)
        finally:
            self.closed = True


@pytest.mark.parametrize(("length", "expected_length"), [(300_000, "300000"), (None, "None")])
async def test_a_body_streams_with_its_length_or_in_chunks(
    serve: Serve, open_transport: Open, length: int | None, expected_length: str
) -> None:
    """A known length becomes the Content-Length; an unknown one means chunked encoding."""
    request = Request(
        "PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(repeated(b"abc" * 1000, 100), length)
    )
    status, headers, content = await exchange(await open_transport(), request)
    assert (status, headers.get("X-Length"), content) == (201, expected_length, b"abc" * 100_000)


async def test_a_large_body_in_memory_is_sent_whole(serve: Serve, open_transport: Open) -> None:
    """A body in memory may have the size of a small blob."""
    body = bytes(range(256)) * 8192
    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=body)
    status, headers, content = await exchange(await open_transport(), request)
    assert (status, headers.get("X-Length"), content == body) == (201, str(len(body)), True)


async def test_a_reused_buffer_is_sent_before_it_changes(serve: Serve, open_transport: Open) -> None:
    """A chunk is valid only until the next one, even if the network has not taken all of it."""
    buffer = bytearray(1_200_000)

    async def chunks() -> AsyncGenerator[Chunk]:
        for number in range(10):
            buffer[:] = bytes([number]) * len(buffer)
            yield memoryview(buffer)

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 12_000_000))
    content = (await exchange(await open_transport(), request))[2]
    assert content == b"".join(bytes([number]) * len(buffer) for number in range(10))


@pytest.mark.parametrize("failure", [ContentMismatch("wrong"), Unavailable("source"), OSError("disk"), KeyError("k")])
async def test_an_error_of_the_body_comes_out_unchanged(serve: Serve, open_transport: Open, failure: Exception) -> None:
    """A caller that copies from one side to the other must know which side failed."""

    async def chunks() -> AsyncGenerator[Chunk]:
        yield b"begin"
        raise failure

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 100))
    with pytest.raises(type(failure)) as raised:
        await exchange(await open_transport(), request)
    assert raised.value is failure


@pytest.mark.parametrize("length", [4, 11])
async def test_a_body_of_another_length_than_declared_is_refused(
    serve: Serve, open_transport: Open, length: int
) -> None:
    """A shorter or longer body never looks complete."""
    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(repeated(b"abcde", 2), length))
    with pytest.raises(ContentMismatch, match="body"):
        await exchange(await open_transport(), request)


async def test_an_early_response_ends_the_upload(listen: Serve, open_transport: Open) -> None:
    """A refused upload does not send ten gigabytes first."""
    body = EndlessBody()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.sleep(10)

    request = Request(
        "PUT", f"http://127.0.0.1:{await listen(serve_connection)}/", body=RequestBody(body.chunks, 10**12)
    )
    async with asyncio.timeout(5):
        status, _, content = await exchange(await open_transport(), request)
    assert (status, content, body.closed) == (413, b"big", True)


async def test_an_upload_that_the_server_does_not_read_times_out(listen: Serve, open_transport: Open) -> None:
    """A server that stops reading delays us by the stall time at most."""
    body = EndlessBody()

    async def serve_connection(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    request = Request(
        "PUT", f"http://127.0.0.1:{await listen(serve_connection)}/", body=RequestBody(body.chunks, 10**12)
    )
    transport = await open_transport(IMPATIENT)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="nothing was sent or received"):
            await exchange(transport, request)
    assert body.closed


async def test_a_slow_source_is_not_a_stall(serve: Serve, open_transport: Open) -> None:
    """Time spent waiting for the source does not count against the target."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for _ in range(2):
            await asyncio.sleep(0.5)
            yield b"abc"

    request = Request("PUT", f"http://127.0.0.1:{await serve(echo)}/", body=RequestBody(chunks, 6))
    assert (await exchange(await open_transport(IMPATIENT), request))[2] == b"abcabc"


async def test_a_cancelled_upload_closes_its_body(listen: Serve, open_transport: Open) -> None:
    """An interrupted run leaves nothing open."""
    body = EndlessBody()
    started = asyncio.Event()

    async def serve_connection(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        started.set()
        await asyncio.sleep(10)

    request = Request(
        "PUT", f"http://127.0.0.1:{await listen(serve_connection)}/", body=RequestBody(body.chunks, 10**12)
    )
    transport = await open_transport()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(exchange(transport, request))
        await started.wait()
        await asyncio.sleep(0.1)
        task.cancel()
    assert body.closed
