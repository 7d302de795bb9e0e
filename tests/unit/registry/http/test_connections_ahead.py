"""Connections that are opened ahead, for requests to far origins that follow."""

import asyncio

import pytest

from image_syncer.registry.http.address_policy import ANYWHERE
from image_syncer.registry.http.transport import Request
from image_syncer.registry.http.urls import origin_of
from support.http_exchange import VERIFY, Open, Serve, exchange


class SlowServer:
    """Answers each request after *pause* seconds; *connections* counts the connections."""

    def __init__(self, pause: float) -> None:
        self.connections = 0
        self._pause = pause

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(self._pause)
            writer.write(b"HTTP/1.1 204 No\r\n\r\n")


@pytest.mark.parametrize(("pause", "expected"), [(0.05, 4), (0.0, 1)], ids=["far", "near"])
async def test_connections_to_a_far_origin_are_opened_ahead(
    listen: Serve, open_transport: Open, pause: float, expected: int
) -> None:
    """The requests that follow find them; near origins get none, since connecting costs little there."""
    server = SlowServer(pause)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}/"
    assert (await exchange(transport, Request("GET", url)))[0] == 204
    await transport.open_ahead(origin_of(url), VERIFY, ANYWHERE, connections=4)
    await asyncio.sleep(0.01)
    assert server.connections == expected
    async with asyncio.TaskGroup() as group:
        for _ in range(expected):
            group.create_task(exchange(transport, Request("GET", url)))
    assert server.connections == expected


async def test_a_request_waits_for_a_connection_that_is_opened_ahead(listen: Serve, open_transport: Open) -> None:
    """It does not open one more; a cancelled opening leaves it to connect by itself."""
    server = SlowServer(0.05)
    transport, url = await open_transport(), f"http://127.0.0.1:{await listen(server)}/"
    await exchange(transport, Request("GET", url))
    for cancels in (False, True):
        opening = asyncio.create_task(transport.open_ahead(origin_of(url), VERIFY, ANYWHERE, connections=3))
        async with asyncio.TaskGroup() as group:
            await asyncio.sleep(0)
            tasks = [group.create_task(exchange(transport, Request("GET", url))) for _ in range(3)]
            if cancels:
                opening.cancel()
        await asyncio.wait([opening])
        assert {task.result()[0] for task in tasks} == {204}
        assert server.connections == 3


async def test_an_unreachable_origin_is_left_to_the_requests(open_transport: Open, unused_tcp_port: int) -> None:
    """Opening ahead only saves time, so it reports nothing."""
    origin = origin_of(f"http://127.0.0.1:{unused_tcp_port}/")
    await (await open_transport()).open_ahead(origin, VERIFY, ANYWHERE, connections=2, only_far=False)
