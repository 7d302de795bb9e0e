"""The transport: requests and answers, against servers on loopback."""

import asyncio
import gzip
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.errors import (
    ProtocolError,
    StoreError,
    TooLarge,
    Unavailable,
)
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    ConnectionRefused,
    Headers,
    Request,
    Transport,
)
from image_syncer.registry.settings import Limits

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


async def get(transport: Transport, url: str, tls: TlsPolicy = VERIFY) -> bytes:
    """Return the content at *url*."""
    return (await ask(transport, Request("GET", url), tls))[2]


async def test_a_url_is_sent_as_it_stands(serve: Serve, open_transport: Open) -> None:
    """Signed addresses of storage services break when one escape changes."""
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    path = "/v2/x?sig=a%2Fb&z=%7E&k=%3A%40&_state=abc%2Fdef"
    await get(await open_transport(), f"http://127.0.0.1:{await serve(handler)}{path}")
    assert seen == [path]


async def test_headers_are_ours_alone(
    serve: Serve, open_transport: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cookie comes back, no login is taken from netrc, no encoding is asked for."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[web.BaseRequest] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        return web.Response(headers={"Set-Cookie": "sid=1"})

    url, transport = f"http://127.0.0.1:{await serve(handler)}/v2/", await open_transport()
    await get(transport, url)
    await get(transport, url)
    headers = seen[1].headers
    assert headers["User-Agent"].startswith("image-syncer/")
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Content-Type"} & set(headers)


async def test_a_body_is_not_decompressed(serve: Serve, open_transport: Open) -> None:
    """A digest is over the bytes as they are stored."""
    packed = gzip.compress(b"layer" * 100)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    assert await get(await open_transport(), f"http://127.0.0.1:{await serve(handler)}/") == packed


async def test_a_redirect_is_an_answer(serve: Serve, open_transport: Open) -> None:
    """Whether to follow is decided above, where credentials are known."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere?a=%2F"})

    url = f"http://127.0.0.1:{await serve(handler)}/"
    status, headers, _ = await ask(await open_transport(), Request("GET", url))
    assert (status, headers.get("location")) == (307, "/elsewhere?a=%2F")


@pytest.mark.parametrize(("pause", "message"), [(0.0, "broke off"), (5.0, "stalled")])
async def test_half_a_body_is_never_a_whole(listen: Serve, open_transport: Open, pause: float, message: str) -> None:
    """A download that breaks off or stalls says so, and may be tried again."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(pause)

    url, transport = f"http://127.0.0.1:{await listen(talk)}/blob", await open_transport(IMPATIENT)
    with pytest.raises(Unavailable, match=message):
        await get(transport, url)


async def test_no_answer_is_waited_for_only_so_long(listen: Serve, open_transport: Open) -> None:
    """A server that takes a request and is silent is not available."""

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    url, transport = f"http://127.0.0.1:{await listen(talk)}/", await open_transport(IMPATIENT)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await get(transport, url)


async def test_a_large_answer_is_not_read_whole(serve: Serve, open_transport: Open) -> None:
    """Memory is bounded by the caller, announced length or not."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/announced":
            return web.Response(body=bytes(2000))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(bytes(2000))
        return response

    url, transport = f"http://127.0.0.1:{await serve(handler)}", await open_transport()
    for path in ("/announced", "/chunked"):
        async with transport.request(Request("GET", url + path), tls=VERIFY) as response:
            with pytest.raises(TooLarge, match="1000 bytes"):
                await response.read(1000)


async def test_head_has_no_body_whatever_its_length(serve: Serve, open_transport: Open) -> None:
    """The length that a HEAD announces is that of another answer."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(headers={"Content-Length": "5000"})

    async with (await open_transport()).request(
        Request("HEAD", f"http://127.0.0.1:{await serve(handler)}/"), tls=VERIFY
    ) as response:
        assert await response.read(10) == b""
        assert response.headers.get("content-length") == "5000"


async def test_connections_are_reused_over_unread_answers(listen: Serve, open_transport: Open) -> None:
    """An error's body that nobody reads does not cost a new connection."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nerror")

    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(talk)}/"
    for _ in range(3):
        async with transport.request(Request("GET", url), tls=VERIFY) as response:
            assert response.status == 401
    assert len(connections) == 1


async def test_a_connection_that_died_in_the_pool_is_replaced(listen: Serve, open_transport: Open) -> None:
    """A server may close an idle connection in the very moment in which we use it."""
    connections: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if len(connections) == 1:
            await reader.readuntil(b"\r\n\r\n")
        else:
            await asyncio.sleep(5)

    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(talk)}/"
    assert [await get(transport, url), await get(transport, url)] == [b"ok", b"ok"]
    assert len(connections) == 2


async def test_a_refused_connection_is_named(open_transport: Open, unused_tcp_port: int) -> None:
    """Network trouble names the host and may be tried again."""
    with pytest.raises(ConnectionRefused, match=rf"127.0.0.1:{unused_tcp_port}: the connection is refused"):
        await get(await open_transport(), f"http://127.0.0.1:{unused_tcp_port}/")


async def test_an_answer_that_is_no_http_breaks_the_protocol(listen: Serve, open_transport: Open) -> None:
    """Trying again does not help against a mail server."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()

    with pytest.raises(ProtocolError, match="not HTTP"):
        await get(await open_transport(), f"http://127.0.0.1:{await listen(talk)}/")


async def test_nothing_secret_is_told(listen: Serve, open_transport: Open) -> None:
    """Neither a message nor a traceback nor a repr holds a signature or a login."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if (await reader.read(1)) == b"h":
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SECRET\r\nContent-Length: 9\r\n\r\n")

    url, transport = f"http://127.0.0.1:{await listen(talk)}/v2/?sig=SECRET", await open_transport(IMPATIENT)
    told: list[str] = []

    async def ask_and_tell(request: Request) -> None:
        async with transport.request(request, tls=VERIFY) as response:
            told.extend((repr(response), repr(response.headers)))
            await response.read(100)

    for body in (b"", b"x", b"h"):
        request = Request("PUT", url, {"Authorization": "Basic SECRET"}, body)
        with pytest.raises(StoreError) as raised:
            await ask_and_tell(request)
        told += [repr(request), str(request), repr(raised.value), *traceback.format_exception(raised.value)]
    assert len(told) > 20
    assert "SECRET" not in "".join(told)
