"""The transport: requests and responses, against servers on loopback."""

import asyncio
import gzip
import traceback
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.errors import (
    ProtocolError,
    StoreError,
    TooLarge,
    Unavailable,
)
from image_syncer.registry.http.transport import (
    ConnectionRefused,
    Request,
)
from support.http_exchange import IMPATIENT, VERIFY, Open, Serve, both_transports, exchange, get

pytestmark = both_transports


async def test_a_url_is_sent_unchanged(serve: Serve, open_transport: Open) -> None:
    """Signed URLs of storage services break if one escape changes."""
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    path = "/v2/x?sig=a%2Fb&z=%7E&k=%3A%40&_state=abc%2Fdef"
    await get(await open_transport(), f"http://127.0.0.1:{await serve(handler)}{path}")
    assert seen == [path]


async def test_only_our_own_headers_are_sent(
    serve: Serve, open_transport: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We return no cookie, take no login from netrc, and accept no compression."""
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
    """A digest covers the stored bytes."""
    packed = gzip.compress(b"layer" * 100)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    assert await get(await open_transport(), f"http://127.0.0.1:{await serve(handler)}/") == packed


async def test_a_redirect_is_not_followed(serve: Serve, open_transport: Open) -> None:
    """The caller decides, since it knows about credentials."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere?a=%2F"})

    url = f"http://127.0.0.1:{await serve(handler)}/"
    status, headers, _ = await exchange(await open_transport(), Request("GET", url))
    assert (status, headers.get("location")) == (307, "/elsewhere?a=%2F")


@pytest.mark.parametrize(("pause", "message"), [(0.0, "broke off"), (5.0, "stalled")])
async def test_an_incomplete_body_is_an_error(listen: Serve, open_transport: Open, pause: float, message: str) -> None:
    """A download that breaks off or stalls fails, and may be retried."""

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(pause)

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}/blob", await open_transport(IMPATIENT)
    with pytest.raises(Unavailable, match=message):
        await get(transport, url)


async def test_a_silent_server_times_out(listen: Serve, open_transport: Open) -> None:
    """A server that accepts a request and does not respond is unavailable."""

    async def serve_connection(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    url, transport = f"http://127.0.0.1:{await listen(serve_connection)}/", await open_transport(IMPATIENT)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await get(transport, url)


async def test_a_response_beyond_the_limit_is_refused(serve: Serve, open_transport: Open) -> None:
    """The caller bounds the memory, with or without a Content-Length."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/with-length":
            return web.Response(body=bytes(2000))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(bytes(2000))
        return response

    url, transport = f"http://127.0.0.1:{await serve(handler)}", await open_transport()
    for path in ("/with-length", "/chunked"):
        async with transport.request(Request("GET", url + path), tls=VERIFY) as response:
            with pytest.raises(TooLarge, match="1000 bytes"):
                await response.read(1000)


async def test_a_response_to_head_has_no_body(serve: Serve, open_transport: Open) -> None:
    """Its Content-Length is that of the response to a GET."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(headers={"Content-Length": "5000"})

    async with (await open_transport()).request(
        Request("HEAD", f"http://127.0.0.1:{await serve(handler)}/"), tls=VERIFY
    ) as response:
        assert await response.read(10) == b""
        assert response.headers.get("content-length") == "5000"


async def test_a_connection_with_an_unread_body_is_reused(listen: Serve, open_transport: Open) -> None:
    """The unread body of an error does not cost a new connection."""
    connections: list[int] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nerror")

    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(serve_connection)}/"
    for _ in range(3):
        async with transport.request(Request("GET", url), tls=VERIFY) as response:
            assert response.status == 401
    assert len(connections) == 1


async def test_a_pooled_connection_that_ended_is_replaced(listen: Serve, open_transport: Open) -> None:
    """A server may close an idle connection just as we use it."""
    connections: list[int] = []

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if len(connections) == 1:
            await reader.readuntil(b"\r\n\r\n")
        else:
            await asyncio.sleep(5)

    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(serve_connection)}/"
    assert [await get(transport, url), await get(transport, url)] == [b"ok", b"ok"]
    assert len(connections) == 2


async def test_a_refused_connection_is_named(open_transport: Open, unused_tcp_port: int) -> None:
    """The message names host and port."""
    with pytest.raises(ConnectionRefused, match=rf"127.0.0.1:{unused_tcp_port}: the connection is refused"):
        await get(await open_transport(), f"http://127.0.0.1:{unused_tcp_port}/")


async def test_a_response_that_is_not_http_is_a_protocol_error(listen: Serve, open_transport: Open) -> None:
    """A retry does not help against a mail server."""

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()

    with pytest.raises(ProtocolError, match="not HTTP"):
        await get(await open_transport(), f"http://127.0.0.1:{await listen(serve_connection)}/")


async def test_no_secret_is_shown(listen: Serve, open_transport: Open) -> None:
    """No message, traceback or repr holds a signature or a login."""

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if (await reader.read(1)) == b"h":
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SECRET\r\nContent-Length: 9\r\n\r\n")

    url, transport = (
        f"http://127.0.0.1:{await listen(serve_connection)}/v2/?sig=SECRET",
        await open_transport(IMPATIENT),
    )
    shown: list[str] = []

    async def exchange_and_show(request: Request) -> None:
        async with transport.request(request, tls=VERIFY) as response:
            shown.extend((repr(response), repr(response.headers)))
            await response.read(100)

    for body in (b"", b"x", b"h"):
        request = Request("PUT", url, {"Authorization": "Basic SECRET"}, body)
        with pytest.raises(StoreError) as raised:
            await exchange_and_show(request)
        shown += [repr(request), str(request), repr(raised.value), *traceback.format_exception(raised.value)]
    assert len(shown) > 20
    assert "SECRET" not in "".join(shown)
