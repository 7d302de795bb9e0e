"""HEADs to one origin, several in flight on each connection."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from image_syncer.errors import Unavailable
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import ConnectionRefused, Request, Transport
from image_syncer.registry.settings import Limits

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]

VERIFY = TlsPolicy("127.0.0.1")
IMPATIENT = Limits(connect_seconds=2.0, stall_seconds=0.3)


async def head(transport: Transport, url: str) -> str | None:
    """Return what the server says that it was asked."""
    async with transport.send(Request("HEAD", url), tls=VERIFY) as response:
        assert await response.read(0) == b""
        return response.headers.get("X-Asked")


async def heads(transport: Transport, url: str, count: int) -> list[str | None]:
    """Ask for `/0`, `/1` and so on at once, and return what is answered."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(count)]
    return [task.result() for task in tasks]


def expected(count: int) -> list[str]:
    """Return the right answers."""
    return [f"/{number}" for number in range(count)]


def reply(request: bytes, *fields: bytes) -> bytes:
    """Return the answer to *request*, with *fields*."""
    lines = [b"HTTP/1.1 200 OK", b"X-Asked: " + request.split()[1], b"Content-Length: 99", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Server:
    """Answers HEADs in order; *depths* are the numbers of requests that came together, one list per connection."""

    def __init__(self, last: int = 10**9, parting: bytes = b"", pause: float = 0.005) -> None:
        self.depths: list[list[int]] = []
        self._last = last
        self._parting = parting
        self._pause = pause

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on one connection; after *last* answers on it comes the *parting*, and its end."""
        depths: list[int] = []
        self.depths.append(depths)
        answered = 0
        async for requests in _batches(reader):
            depths.append(len(requests))
            await asyncio.sleep(self._pause)
            for request in requests:
                writer.write(reply(request))
                answered += 1
                if answered == self._last:
                    writer.write(self._parting)
                    depths.extend(await _left_behind(reader))
                    return


async def _left_behind(reader: asyncio.StreamReader) -> list[int]:
    """Return how many requests still come, which nobody will answer."""
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


async def test_many_heads_take_few_connections_and_keep_their_order(listen: Serve, open_transport: Open) -> None:
    """Each gets its own answer, whatever is in flight."""
    server = Server()
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await heads(transport, url, 60) == expected(60)
    assert len(server.depths) == 4
    assert max(max(depths) for depths in server.depths) > 4


async def test_one_after_the_other_takes_one_connection(listen: Serve, open_transport: Open) -> None:
    """And that may be the one that another request has left."""
    server = Server()
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert [await head(transport, f"{url}/{number}") for number in range(5)] == expected(5)
    assert server.depths == [[1] * 5]


@pytest.mark.parametrize("parting", [b"", b"no head at all\r\n\r\n"])
async def test_an_origin_that_can_not_be_pipelined_is_asked_one_by_one(
    listen: Serve, open_transport: Open, parting: bytes
) -> None:
    """A bad proxy before a registry costs one more request, and no wrong answer."""
    server = Server(last=1, parting=parting)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await heads(transport, url, 30) == expected(30)
    opened = len(server.depths)
    assert await heads(transport, url, 10) == expected(10)
    assert server.depths[opened:] == [[1]] * 10


async def test_a_server_that_ends_its_connections_now_and_then_is_no_bad_proxy(
    listen: Serve, open_transport: Open
) -> None:
    """Many end one after a hundred or a thousand requests; what was in flight is asked again."""
    server = Server(last=100)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    for _ in range(10):
        assert await heads(transport, url, 60) == expected(60)
    assert max(max(depths, default=0) for depths in server.depths[8:]) > 1


async def test_who_gives_up_disturbs_nobody(listen: Serve, open_transport: Open) -> None:
    """An answer that nobody waits for any more is thrown away, and only that."""
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(Server(pause=0.2))}"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(20)]
        await asyncio.sleep(0.1)
        for task in tasks[::2]:
            task.cancel()
    assert [task.result() for task in tasks[1::2]] == expected(20)[1::2]


async def test_who_gives_up_while_it_connects_disturbs_nobody(listen: Serve, open_transport: Open) -> None:
    """Somebody else opens the connection then."""
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(Server())}"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(head(transport, f"{url}/{number}")) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[:4]:
            task.cancel()
    assert [task.result() for task in tasks[4:]] == expected(20)[4:]


async def test_a_silent_server_is_not_waited_for(listen: Serve, open_transport: Open) -> None:
    """Every HEAD in flight has the same patience as a request of its own."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    transport, url = await open_transport(IMPATIENT), f"http://127.0.0.1:{await listen(talk)}"
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert all(re.search("nothing was sent or received for 0.3 s", str(result)) for result in results)


async def test_a_server_that_reads_one_request_at_a_time_gets_the_others_again(
    listen: Serve, open_transport: Open
) -> None:
    """Some drop what came behind a request: those that have not waited too long yet are asked again."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for requests in _batches(reader):
            await asyncio.sleep(0.1)
            writer.write(reply(requests[0]))

    transport, url = await open_transport(IMPATIENT), f"http://127.0.0.1:{await listen(talk)}"
    results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) <= 4
    assert await heads(transport, url, 8) == expected(8)


async def test_nobody_listens(open_transport: Open, unused_tcp_port: int) -> None:
    """Everybody who waits for the connection is told why there is none."""
    transport, url = await open_transport(), f"http://127.0.0.1:{unused_tcp_port}"
    results = await asyncio.gather(*(head(transport, f"{url}/{n}") for n in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionRefused}


async def test_distant_origins_get_more_connections(listen: Serve, open_transport: Open) -> None:
    """Depth waits for the answers before it; connections do not."""
    server = Server(pause=0.05)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}"
    assert await head(transport, f"{url}/0") == "/0"
    assert await heads(transport, url, 40) == expected(40)
    assert len(server.depths) == 16
    assert max(max(depths) for depths in server.depths) <= 4


async def test_nothing_stays_open(listen: Serve, open_transport: Open) -> None:
    """A transport that ends closes what it kept."""
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65536):
            writer.write(reply(request) if request.startswith(b"HEAD") else b"HTTP/1.1 204 No\r\n\r\n")
        ended.put_nowait(None)

    url = f"http://127.0.0.1:{await listen(talk)}/"
    async with Transport(IMPATIENT, {}, certificates=()) as transport:
        await head(transport, url)
        for _ in range(2):
            async with transport.send(Request("GET", url), tls=VERIFY) as response:
                assert response.status == 204
        assert ended.empty()
    async with asyncio.timeout(2):
        for _ in range(2):
            await ended.get()
    assert len(asyncio.all_tasks()) == 1
