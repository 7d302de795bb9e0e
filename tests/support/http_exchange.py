"""Shared by the tests of the HTTP transport: requests, a server's handlers, and both transports."""

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Headers, Request, Transport
from image_syncer.registry.settings import Limits

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Tunnel = Callable[[int], Awaitable[str]]

VERIFY = TlsPolicy("127.0.0.1")
IMPATIENT = Limits(connect_seconds=2.0, stall_seconds=0.3)

both_transports = pytest.mark.parametrize("sockets", [True, False], ids=["sockets", "aiohttp"])
"""Runs a test with our own client and with aiohttp: callers cannot tell them apart."""


async def exchange(transport: Transport, request: Request, tls: TlsPolicy = VERIFY) -> tuple[int, Headers, bytes]:
    """Send *request*; return status, headers and the whole body of the response."""
    async with transport.request(request, tls=tls) as response:
        return response.status, response.headers, await response.read(64 * 1024 * 1024)


async def get(transport: Transport, url: str, tls: TlsPolicy = VERIFY) -> bytes:
    """Return the content at *url*."""
    return (await exchange(transport, Request("GET", url), tls))[2]


async def echo(request: web.BaseRequest) -> web.Response:
    """Respond with the body of the request, and its length as a header."""
    return web.Response(
        status=201, body=await request.content.read(), headers={"X-Length": str(request.content_length)}
    )
