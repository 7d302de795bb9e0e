"""Bodies that move in threads: which do, and what happens when a task ends, a peer is slow, or no thread is left."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from image_syncer.errors import ContentMismatch, Unavailable
from image_syncer.registry.http import transport as transport_module
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.free_cores import FreeCores
from image_syncer.registry.http.io_threads import LARGE_BYTES, IoThreads
from image_syncer.registry.http.request_body import in_pieces
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.settings import Limits, ThreadUse
from image_syncer.roles import Chunk
from image_syncer.structs import replace
from support.http_exchange import VERIFY, Open, Serve, exchange

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (4 * MIB // 256)
ALWAYS = Limits(connect_seconds=5.0, stall_seconds=5.0, threads="always")

_Result = TypeVar("_Result")


class CountingThreads(IoThreads):
    """Counts its jobs."""

    jobs = 0

    async def run(self, connection: Connection, job: Callable[[], _Result]) -> _Result:
        """Count *job* and run it."""
        self.jobs += 1
        return await super().run(connection, job)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingThreads:
    """The threads of the next transport."""
    threads = CountingThreads("always")

    def counting(_: ThreadUse) -> IoThreads:
        return threads

    monkeypatch.setattr(transport_module, "IoThreads", counting)
    return threads


async def serve_content(_: web.BaseRequest) -> web.Response:
    """Respond with the content."""
    return web.Response(body=CONTENT)


async def serve_beginning(_: web.BaseRequest) -> web.Response:
    """Respond with content that fits the socket's buffers, so that the server has sent it when its client leaves."""
    return web.Response(body=CONTENT[: 256 * 1024])


async def read(transport: Transport, url: str, inspect: Callable[[Chunk], None]) -> bytes:
    """Return the content at *url*, inspected on its way."""
    received = bytearray()
    async with (
        transport.request(Request("GET", url), tls=VERIFY) as response,
        aclosing(response.chunks(inspect)) as chunks,
    ):
        async for chunk in chunks:
            received += chunk
    return bytes(received)


@pytest.mark.parametrize(
    ("use", "encrypted", "elsewhere"),
    [
        pytest.param("always", False, True, id="threads"),
        pytest.param("never", False, False, id="loop"),
        pytest.param("always", True, False, id="tls"),
    ],
)
async def test_a_body_is_received_and_inspected_in_a_thread(  # noqa: PLR0913, PLR0917 - fixtures
    serve: Serve,
    open_transport: Open,
    server_tls: ssl.SSLContext,
    authority_file: Path,
    encrypted: bool,
    use: ThreadUse,
    elsewhere: bool,
) -> None:
    """The inspected bytes are those of the body, in order and once, whichever thread sees them.

    TLS stays in the loop: its small records would take Python's lock too often.
    """
    inspected, idents = bytearray(), set[int]()

    def inspect(chunk: Chunk) -> None:
        inspected.extend(chunk)
        idents.add(threading.get_ident())

    port = await serve(serve_content, server_tls if encrypted else None)
    transport = await open_transport(replace(ALWAYS, threads=use), {"SSL_CERT_FILE": str(authority_file)})
    url = f"{'https' if encrypted else 'http'}://127.0.0.1:{port}/"
    assert await read(transport, url, inspect) == CONTENT == bytes(inspected)
    assert bool(idents - {threading.get_ident()}) is elsewhere


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_a_body_is_sent_in_a_thread(
    serve: Serve,
    open_transport: Open,
    server_tls: ssl.SSLContext,
    authority_file: Path,
    counting: CountingThreads,
    encrypted: bool,
) -> None:
    """The server receives every byte; a job sends each piece, but not over TLS."""
    received = bytearray()

    async def handler(request: web.BaseRequest) -> web.Response:
        received.extend(await request.content.read())
        return web.Response(status=201)

    port = await serve(handler, server_tls if encrypted else None)
    transport = await open_transport(ALWAYS, {"SSL_CERT_FILE": str(authority_file)})
    url = f"{'https' if encrypted else 'http'}://127.0.0.1:{port}/"
    status, _, _ = await exchange(transport, Request("PUT", url, body=in_pieces(CONTENT)))
    assert (status, bytes(received)) == (201, CONTENT)
    assert (counting.jobs > 0) is not encrypted


async def test_an_error_of_the_inspection_is_raised_unchanged(serve: Serve, open_transport: Open) -> None:
    """Wrong content ends the read in the thread, before the chunk reaches its consumer."""
    url = f"http://127.0.0.1:{await serve(serve_content)}/"

    def refuse(_: Chunk) -> None:
        raise ContentMismatch("wrong bytes")

    with pytest.raises(ContentMismatch, match="wrong bytes"):
        await read(await open_transport(ALWAYS), url, refuse)
    await asyncio.sleep(0.1)  # The server sees the end of the connection.


async def test_a_cancelled_read_ends_after_its_job(serve: Serve, open_transport: Open) -> None:
    """The buffer belongs to the next body then, so no thread may write into it any more."""
    began, ended = threading.Event(), threading.Event()

    def inspect(_: Chunk) -> None:
        began.set()
        time.sleep(0.2)
        ended.set()

    url = f"http://127.0.0.1:{await serve(serve_beginning)}/"
    reading = asyncio.create_task(read(await open_transport(ALWAYS), url, inspect))
    await asyncio.to_thread(began.wait)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ended.is_set()
    await asyncio.sleep(0.1)  # The server sees the end of the connection.


async def test_a_cancelled_upload_ends_at_once(listen: Serve, open_transport: Open) -> None:
    """A server that stops reading does not hold the thread, and sees the end of the connection."""
    began, cancelled, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stop_reading(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await cancelled.wait()
        while await reader.read(MIB):
            pass
        ended.set()

    url = f"http://127.0.0.1:{await listen(stop_reading)}/"
    body = in_pieces(bytes(64 * MIB))
    sending = asyncio.create_task(exchange(await open_transport(ALWAYS), Request("PUT", url, body=body)))
    await began.wait()
    sending.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await sending  # The server still reads nothing.
        cancelled.set()
        await ended.wait()
    await asyncio.sleep(0.1)  # The server closes its side.


async def test_a_slow_body_goes_back_to_the_loop(
    listen: Serve, open_transport: Open, counting: CountingThreads
) -> None:
    """A thread waits for a slow server in one piece of nine, and then for 20 ms at most."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 27648\r\n\r\n")
        for _ in range(27):
            await asyncio.sleep(0.03)
            writer.write(bytes(1024))
            await writer.drain()

    url = f"http://127.0.0.1:{await listen(drip)}/"
    assert await read(await open_transport(ALWAYS), url, lambda _: None) == bytes(27648)
    await asyncio.sleep(0.1)  # The server closes its side.
    assert 1 <= counting.jobs <= 6


async def test_a_refused_thread_leaves_the_body_to_the_loop(
    serve: Serve, open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of threads slows a transfer down; it does not fail it."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    idents = set[int]()
    url = f"http://127.0.0.1:{await serve(serve_content)}/"
    transport = await open_transport(ALWAYS)
    assert await read(transport, url, lambda _: idents.add(threading.get_ident())) == CONTENT
    assert idents == {threading.get_ident()}


async def test_closing_the_transport_ends_a_running_job(serve: Serve) -> None:
    """The descriptor stays open until the job has ended: another file must not get its number."""
    began = threading.Event()
    seen: list[int] = []

    def inspect(_: Chunk) -> None:
        began.set()
        time.sleep(0.1)
        seen.append(threading.get_ident())

    url = f"http://127.0.0.1:{await serve(serve_beginning)}/"
    async with Transport(ALWAYS, {}, certificates=()) as transport:
        reading = asyncio.create_task(read(transport, url, inspect))
        await asyncio.to_thread(began.wait)
    assert seen
    with suppress(Unavailable):  # The job may have received everything before.
        await asyncio.wait_for(reading, 5)
    await asyncio.sleep(0.1)  # The server sees the end of the connection.


@pytest.mark.parametrize(
    ("use", "idle", "size", "expected"),
    [
        ("auto", 2.0, LARGE_BYTES, True),
        ("auto", 2.0, LARGE_BYTES - 1, False),
        ("auto", 2.0, None, False),
        ("auto", 0.0, LARGE_BYTES, False),
        ("always", 0.0, 1, True),
        ("never", 2.0, LARGE_BYTES, False),
    ],
)
async def test_threads_are_for_large_bodies_and_free_cores(
    use: ThreadUse, idle: float, size: int | None, expected: bool
) -> None:
    """A small body is moved before a thread wakes up."""
    clock = iter([0.0, 1.0, 2.0])
    elapsed = iter([0.0, idle, 2 * idle])
    cores = FreeCores(usable=lambda: 2.0, idle=lambda: next(elapsed), used=lambda: 0.0, clock=lambda: next(clock))
    cores.has_free()
    ends = socket.socketpair()
    connection = Connection(ends[0], lambda _: None)
    assert IoThreads(use, cores).turns(connection, size).take() is expected
    connection.close()
    ends[1].close()
