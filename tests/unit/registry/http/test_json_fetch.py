"""Fetching small documents: bounded size and time, no redirects, and the cache time from the server."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.errors import InsecureConnection, ProtocolError, TooLarge, Unavailable
from image_syncer.registry.http.json_fetch import JsonFetcher

Serve = Callable[..., Awaitable[int]]
Tunnel = Callable[[int], Awaitable[str]]


@pytest.fixture
async def documents(stack: AsyncExitStack) -> JsonFetcher:
    """A fetcher without proxies and with a short time limit."""
    return await stack.enter_async_context(JsonFetcher({}, seconds=2.0))


async def address(serve: Serve, response: Callable[[], web.StreamResponse]) -> str:
    """Return the URL of a server that responds to everything with *response*."""

    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return response()

    return f"http://127.0.0.1:{await serve(handler)}/document"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Cache-Control": "public, max-age=19800, must-revalidate"}, 19800),
        ({"Cache-Control": "Public, Max-Age=600", "Age": "100"}, 500),
        ({"Cache-Control": "max-age=600", "Age": "700"}, 0),
        ({"Cache-Control": "max-age=600", "Age": "-5"}, 600),
        ({"Cache-Control": "no-store, max-age=600"}, 0),
        ({"Cache-Control": "s-maxage=600, max-age=x"}, None),
    ],
)
async def test_cache_control_and_age_give_the_cache_time(
    serve: Serve, documents: JsonFetcher, headers: dict[str, str], seconds: float | None
) -> None:
    """The time from Cache-Control, less the age from caches on the way."""
    document = await documents.get(await address(serve, lambda: web.Response(body=b"{}", headers=headers)), 2)
    assert (document.content, document.max_age) == (b"{}", seconds)


@pytest.mark.parametrize(("status", "error"), [(302, ProtocolError), (404, ProtocolError), (503, Unavailable)])
async def test_only_200_is_a_document(
    serve: Serve, documents: JsonFetcher, status: int, error: type[Exception]
) -> None:
    """A redirect is an error too: only the configured URL decides where keys come from."""
    url = await address(serve, lambda: web.Response(status=status, headers={"Location": "/elsewhere"}))
    with pytest.raises(error, match=f"answers {status}"):
        await documents.get(url, 10)


async def test_a_document_is_bounded(serve: Serve, documents: JsonFetcher) -> None:
    """One byte beyond the limit is an error."""
    with pytest.raises(TooLarge):
        await documents.get(await address(serve, lambda: web.Response(body=b"123")), 2)


async def test_the_total_time_is_bounded(serve: Serve, documents: JsonFetcher) -> None:
    """A server that keeps sending single bytes times out too."""

    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    with pytest.raises(Unavailable, match=r"within 2 s"):
        await documents.get(f"http://127.0.0.1:{await serve(drip)}/?key=hidden", 1000)


async def test_tls_is_verified_on_loopback_too(serve: Serve, documents: JsonFetcher, server_tls: object) -> None:
    """Otherwise any program on that port could supply keys."""

    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"{}")

    with pytest.raises(InsecureConnection):
        await documents.get(f"https://127.0.0.1:{await serve(handler, server_tls)}/", 10)


async def test_proxies_and_authorities_come_from_the_environment(
    serve: Serve, tunnel: Tunnel, server_tls: object, authority_file: Path
) -> None:
    """The same holds for registries."""

    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"{}")

    proxy = await tunnel(await serve(handler, server_tls))
    async with JsonFetcher({"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(authority_file)}) as documents:
        assert (await documents.get("https://registry.example/keys", 10)).content == b"{}"
