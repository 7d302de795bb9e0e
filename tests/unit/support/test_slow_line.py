import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from support.ports import free_port
from support.slow_line import FAR, Carried, RelayLine, SlowLine
from support.tries import least_seconds

MIB = 1024 * 1024
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo everything until the end of the stream."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, then send the number of bytes."""
    total = 0
    while data := await reader.read(65536):
        total += len(data)
    writer.write(str(total).encode())


@asynccontextmanager
async def behind(line: RelayLine, talk: Talk) -> AsyncGenerator[SlowLine]:
    """A line to a server that runs *talk* with every connection."""
    talks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        async with closed(writer):
            await talk(reader, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with SlowLine(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", line) as slow:
            yield slow
        await asyncio.wait([task for task in talks if task], timeout=5)


@asynccontextmanager
async def closed(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    """Close *writer* at the end, in whatever state the connection is."""
    try:
        yield
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def connected(line: SlowLine) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection over *line*."""
    name, _, port = line.host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    async with closed(writer):
        yield reader, writer


async def send(line: SlowLine, content: bytes) -> bytes:
    """Send *content* and the end of the stream over a new connection; return the response."""
    async with connected(line) as (reader, writer):
        writer.write(content)
        writer.write_eof()
        return await reader.read()


async def test_a_round_trip_takes_the_latency_and_a_new_connection_one_more() -> None:
    """Many connections cost time, as over a real line."""

    async def ask() -> None:
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"

    async def connect_and_ask() -> None:
        async with connected(line) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"

    async with behind(FAR, echo) as line:
        assert 0.1 <= await least_seconds(connect_and_ask, below=0.5) < 0.5
        async with connected(line) as (reader, writer):
            await ask()
            assert 0.05 <= await least_seconds(ask, below=0.25) < 0.25


async def test_pipelined_questions_wait_for_one_round_trip() -> None:
    """Latency does not limit the bytes in flight, so pipelining pays off."""

    async def ask() -> None:
        for number in range(200):
            writer.write(number.to_bytes(2, "big"))
            await asyncio.sleep(0)
        await reader.readexactly(400)

    async with behind(FAR, echo) as line, connected(line) as (reader, writer):
        assert await least_seconds(ask, below=0.6) < 0.6


async def test_a_connection_has_its_rate() -> None:
    """8 MiB take the expected time at 20 MiB/s, not much less and not much more."""

    async def send_all() -> None:
        assert await send(line, bytes(8 * MIB)) == str(8 * MIB).encode()

    async with behind(FAR, count) as line:
        assert 0.4 <= await least_seconds(send_all, below=1.5) < 1.5


async def test_ten_connections_each_have_the_full_rate() -> None:
    """The relay is no bottleneck: ten connections carry ten times as much in about the same time.

    One after another they would take 10 s; so slow a line leaves time for what else the machine does.
    """
    slow = RelayLine(latency_seconds=0.05, bytes_per_second=4 * MIB)
    async with behind(slow, count) as line, asyncio.TaskGroup() as group:
        started = time.perf_counter()
        sent = [group.create_task(send(line, bytes(4 * MIB))) for _ in range(10)]
        assert {await task for task in sent} == {str(4 * MIB).encode()}
        assert 1 <= time.perf_counter() - started < 8


@pytest.mark.parametrize("line", [RelayLine(), FAR], ids=["plain", "far"])
async def test_bytes_are_unchanged_and_counted_both_ways(line: RelayLine) -> None:
    """All bytes arrive in order, and the relay reports their number."""
    content = os.urandom(3 * MIB)
    async with behind(line, echo) as slow:
        assert await send(slow, content) == content
        assert await asyncio.to_thread(slow.carried) == Carried(3 * MIB, 3 * MIB, 1)


async def test_a_slow_reader_stops_the_sender() -> None:
    """Memory stays bounded: the sender waits, as it would without a relay."""
    waiting = asyncio.Event()

    async def deaf(*_: object) -> None:
        await waiting.wait()

    line_to_deaf = behind(RelayLine(latency_seconds=0.01, bytes_per_second=100 * MIB), deaf)
    async with line_to_deaf as line, connected(line) as (_, writer):
        writer.write(bytes(64 * MIB))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await writer.drain()
        held = int(_status(line.pid, "VmHWM").split()[0]) * 1024
        waiting.set()
        writer.transport.abort()
    assert held < 40 * MIB


async def test_a_reset_of_the_server_reaches_the_client() -> None:
    """A reset at one end ends the connection at the other, and the relay accepts the next one."""
    talks: list[int] = []

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(len(await reader.read(1)))
        writer.transport.abort()

    async with behind(FAR, rude) as line:
        for _ in range(2):
            assert await _until_over(line) == b""
    assert talks == [1, 1]


async def test_an_absent_server_ends_the_connection() -> None:
    """The client does not wait for a server that does not listen."""
    with SlowLine(f"127.0.0.1:{free_port()}", FAR) as line:
        assert await _until_over(line) == b""


def test_the_relay_ends_with_its_parent() -> None:
    """No process remains, and its port refuses connections."""
    with SlowLine("127.0.0.1:9", RelayLine()) as line:
        pid, port = line.pid, int(line.host.partition(":")[2])
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def _until_over(line: SlowLine) -> bytes:
    async with asyncio.timeout(5), connected(line) as (reader, writer):
        writer.write(b"x")
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":", 1) for line in lines)[name]
