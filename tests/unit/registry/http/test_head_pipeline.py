"""Pipelined HEAD requests."""

import asyncio
import re
from collections.abc import AsyncGenerator

import pytest

from image_syncer.errors import Unavailable
from image_syncer.registry.http.head_pipeline import FAR_SECONDS, choose_connection
from image_syncer.registry.http.transport import ConnectionRefused, Request, Transport
from image_syncer.structs import replace
from support.http_exchange import IMPATIENT, VERIFY, Open, Serve

NEAR, FAR = FAR_SECONDS / 2, FAR_SECONDS * 2


async def head(transport: Transport, url: str) -> str | None:
    """Return the path that the server echoes."""
    async with transport.request(Request("HEAD", url), tls=VERIFY) as response:
        assert await response.read(0) == b""
        return response.headers.get("X-Path")


async def heads(transport: Transport, url: str, count: int) -> list[str | None]:
    """Request `/0`, `/1` and so on at once; return the paths that the server echoes."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(count)]
    return [task.result() for task in tasks]


def expected(count: int) -> list[str]:
    """Return the paths of `heads` in the right order."""
    return [f"/{number}" for number in range(count)]


def reply(request: bytes, *fields: bytes) -> bytes:
    """Return the response to *request*, with *fields*."""
    lines = [b"HTTP/1.1 200 OK", b"X-Path: " + request.split()[1], b"Content-Length: 99", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Server:
    """Responds to HEADs in order; *depths* counts the requests that arrived together, one list per connection."""

    def __init__(self, last: int = 10**9, parting: bytes = b"", pause: float = 0.005) -> None:
        self.depths: list[list[int]] = []
        self._last = last
        self._parting = parting
        self._pause = pause

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; after *last* responses send *parting* and close it."""
        depths: list[int] = []
        self.depths.append(depths)
        responses = 0
        async for requests in _batches(reader):
            depths.append(len(requests))
            await asyncio.sleep(self._pause)
            for request in requests:
                writer.write(reply(request))
                responses += 1
                if responses == self._last:
                    writer.write(self._parting)
                    depths.extend(await _unread(reader))
                    return


async def _unread(reader: asyncio.StreamReader) -> list[int]:
    """Return the number of further requests, which stay without a response."""
    try:
        async with asyncio.timeout(0.02):
            found = (await reader.read(65536)).count(b"\r\n\r\n")
    except TimeoutError:
        found = 0
    return [found] if found else []


async def _batches(reader: asyncio.StreamReader) -> AsyncGenerator[list[bytes]]:
    pending = b""
    while received := await reader.read(65536):
        *requests, pending = (pending + received).split(b"\r\n\r\n")
        yield requests


async def test_many_heads_share_few_connections_in_order(listen: Serve, open_transport: Open) -> None:
    """Each request gets its own response, whatever is in flight."""
    server = Server()
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await heads(transport, url, 60) == expected(60)
    assert len(server.depths) == 4
    assert max(max(depths) for depths in server.depths) > 4


async def test_sequential_heads_use_one_connection(listen: Serve, open_transport: Open) -> None:
    """It may be one that another kind of request used before."""
    server = Server()
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert [await head(transport, f"{url}/{number}") for number in range(5)] == expected(5)
    assert server.depths == [[1] * 5]


@pytest.mark.parametrize("parting", [b"", b"no head at all\r\n\r\n"])
async def test_an_origin_without_pipelining_gets_one_request_at_a_time(
    listen: Serve, open_transport: Open, parting: bytes
) -> None:
    """A broken proxy costs one more request, and never gives a wrong response."""
    server = Server(last=1, parting=parting)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await heads(transport, url, 30) == expected(30)
    opened = len(server.depths)
    assert await heads(transport, url, 10) == expected(10)
    assert server.depths[opened:] == [[1]] * 10


async def test_a_server_that_closes_connections_after_many_requests_is_still_pipelined(
    listen: Serve, open_transport: Open
) -> None:
    """Many servers close after a hundred or a thousand requests; requests in flight are sent again."""
    server = Server(last=100)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    for _ in range(10):
        assert await heads(transport, url, 60) == expected(60)
    assert max(max(depths, default=0) for depths in server.depths[8:]) > 1


async def test_a_cancelled_request_leaves_the_others_alone(listen: Serve, open_transport: Open) -> None:
    """Only the response of the cancelled request is dropped."""
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(Server(pause=0.2))}"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(20)]
        await asyncio.sleep(0.1)
        for task in tasks[::2]:
            task.cancel()
    assert [task.result() for task in tasks[1::2]] == expected(20)[1::2]


async def test_a_request_cancelled_while_connecting_leaves_the_others_alone(
    listen: Serve, open_transport: Open
) -> None:
    """Another waiting request opens the connection."""
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(Server())}"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[:4]:
            task.cancel()
    assert [task.result() for task in tasks[4:]] == expected(20)[4:]


async def test_a_silent_server_times_out(listen: Serve, open_transport: Open) -> None:
    """A pipelined HEAD has the same time limits as any other request."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    transport, url = await open_transport(IMPATIENT), f"http://127.0.0.1:{await listen(serve)}"
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert all(re.search("nothing was sent or received for 0.3 s", str(result)) for result in results)


async def test_requests_that_the_server_dropped_are_sent_again(listen: Serve, open_transport: Open) -> None:
    """Some servers drop the bytes behind a request; requests within their time limit are sent again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for requests in _batches(reader):
            await asyncio.sleep(0.05)
            writer.write(reply(requests[0]))

    limits = replace(IMPATIENT, stall_seconds=1.5)  # Much longer than a response takes on a busy machine.
    transport, url = await open_transport(limits), f"http://127.0.0.1:{await listen(serve)}"
    results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) <= 4
    assert await heads(transport, url, 8) == expected(8)


async def test_a_refused_connection_fails_all_requests(open_transport: Open, unused_tcp_port: int) -> None:
    """Every request that waits for the connection gets the reason."""
    transport, url = await open_transport(), f"http://127.0.0.1:{unused_tcp_port}"
    results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionRefused}


async def test_distant_origins_get_more_connections(listen: Serve, open_transport: Open) -> None:
    """A request in a queue waits for the responses before it; one on its own connection does not."""
    server = Server(pause=0.05)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await head(transport, f"{url}/0") == "/0"
    assert await heads(transport, url, 40) == expected(40)
    assert len(server.depths) == 16
    assert max(max(depths) for depths in server.depths) <= 4


async def test_an_idle_connection_serves_heads_and_other_requests(listen: Serve, open_transport: Open) -> None:
    """A new connection to a far origin costs one round trip, with TLS two or three."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while request := await reader.read(65536):
            writer.write(reply(request) if request.startswith(b"HEAD") else b"HTTP/1.1 204 No\r\n\r\n")

    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(serve)}/"
    for _ in range(2):
        assert await head(transport, url) == "/"
        async with transport.request(Request("GET", url), tls=VERIFY) as response:
            assert response.status == 204
    assert connections == 1


async def test_a_connection_that_ended_after_its_heads_serves_nothing_else(listen: Serve, open_transport: Open) -> None:
    """A request that is no HEAD would fail on it, and may not be repeated."""
    server = Server(last=1)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await head(transport, f"{url}/0") == "/0"
    await asyncio.sleep(0.1)
    async with transport.request(Request("POST", f"{url}/1", {}, b"body"), tls=VERIFY) as response:
        assert response.status == 200
    assert len(server.depths) == 2


async def test_closing_the_transport_closes_its_connections(listen: Serve, open_transport: Open) -> None:
    """Idle ones as well as pipelined ones."""
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65536):
            writer.write(
                reply(request) if request.startswith(b"HEAD") else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            )
        ended.put_nowait(None)

    url = f"http://127.0.0.1:{await listen(serve)}/"
    async with Transport(IMPATIENT, {}, certificates=()) as transport:
        async with transport.request(Request("GET", url), tls=VERIFY) as response:
            await head(transport, url)  # On a second connection: the first one is in use.
            assert await response.read(2) == b"ok"
        assert ended.empty()
    async with asyncio.timeout(2):
        for _ in range(2):
            await ended.get()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("pending", "round_trip", "expected"),
    [
        ([], None, 0),  # The first connection is opened,
        ([0], None, 0),  # and used again while it is idle.
        ([1], None, 1),  # Then up to four are opened,
        ([5, 0, 2], NEAR, 1),
        ([2, 1, 3], NEAR, 3),
        ([3, 2, 2, 4], NEAR, 1),  # then the one with the fewest requests is used,
        ([16, 16, 16, 16], NEAR, None),  # until all are full.
        ([3, 2, 2, 4], FAR, 4),  # Far origins get more connections
        ([4] * 16, FAR, None),  # with fewer requests on each.
        ([*([4] * 15), 3], FAR, 15),
        ([None, 2, 2, 4], NEAR, 4),  # So do origins with a blocked connection,
        ([None] * 15, NEAR, 15),
        ([None] * 16, NEAR, None),  # up to the same number.
        ([None, *([3] * 15)], NEAR, 1),
    ],
)
def test_an_idle_connection_comes_before_a_new_and_a_busy_one(
    pending: list[int | None], round_trip: float | None, expected: int | None
) -> None:
    """Far origins get more connections with fewer requests on each."""
    assert choose_connection(pending, round_trip) == expected
