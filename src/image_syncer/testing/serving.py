"""Serve aiohttp applications on a free loopback port."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web

_SHUTDOWN_SECONDS = 1.0


@asynccontextmanager
async def serve(application: web.Application, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Serve *application* on 127.0.0.1, with TLS if there is a context; yields the port."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        _, port = cast("tuple[str, int]", runner.addresses[0])
        yield port
    finally:
        await runner.cleanup()
