"""The HTTP server: start, change of settings, stop, and slow connections."""

import asyncio
import signal
import socket
import time

import pytest
from prometheus_client import CollectorRegistry

from image_syncer.errors import UsageError
from image_syncer.events.signatures import Bearer
from image_syncer.server.metrics import Metrics
from image_syncer.server.runner import Site, serve
from image_syncer.server.server_settings import HookSource, Listen, ServerSettings
from image_syncer.server.web_backend import Backend
from server.serving import backend_over, open_databases, running, unused_backend
from server.test_hooks import envelope

LOOPBACK = Listen("127.0.0.1", 0)


def build(listen: Listen = LOOPBACK, settings: ServerSettings | None = None, backend: Backend | None = None) -> Site:
    """Return a site that is not served yet."""
    metrics = Metrics(CollectorRegistry())
    return Site(listen, settings or ServerSettings(), backend or unused_backend(), metrics=metrics, clock=time.time)


async def exchange(listen: Listen, said: bytes) -> bytes:
    """Return everything that the server sends until it closes."""
    reader, writer = await asyncio.open_connection(listen.host, listen.port)
    writer.write(said)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_an_exposed_site_is_not_built() -> None:
    """The exposure check cannot be bypassed."""
    with pytest.raises(UsageError, match="other machines could use"):
        build(Listen("0.0.0.0", 0))


async def test_settings_change_while_it_runs() -> None:
    """They apply to the next request on the same connection."""
    async with running() as site:
        assert await site.status("GET", "/api/v1/rules") == 200
        site.site.change(ServerSettings(logins=(Bearer("t"),)))
        assert await site.status("GET", "/api/v1/rules") == 401


def test_refused_settings_leave_the_old_ones() -> None:
    """A reload cannot open what the start would refuse."""
    site = build(Listen("0.0.0.0", 0), ServerSettings(logins=(Bearer("t"),)))
    with pytest.raises(UsageError):
        site.change(ServerSettings())


async def test_a_stop_finishes_open_requests() -> None:
    """A webhook in progress gets its answer; later connections are refused."""
    hooks = {"open": HookSource("distribution", "registry.example.com")}
    async with running(ServerSettings(hooks=hooks)) as site, asyncio.TaskGroup() as group:
        site.databases.delay = 0.4
        call = group.create_task(site.status("POST", "/hooks/open", data=envelope()))
        await asyncio.sleep(0.1)
        site.stop.set()
        assert await call == 202
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.listen.port)


async def test_a_stop_gives_up_after_the_drain() -> None:
    """The port is free again."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with open_databases() as databases, asyncio.timeout(10), asyncio.TaskGroup() as group:
        databases.delay = 60
        site = build(backend=backend_over(databases))
        serving = group.create_task(serve(site, stop=stop, started=address.set_result, drain_seconds=1))
        listen = await address
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        writer.write(b"GET /api/v1/rules HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        stop.set()
        await serving
        writer.close()
    with socket.create_server((listen.host, listen.port)):
        pass


async def test_a_taken_port_is_a_usage_error() -> None:
    """With the address and a remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Listen(*taken.getsockname())
        with pytest.raises(UsageError, match=f"{listen}: cannot listen"):
            await serve(build(listen), stop=asyncio.Event(), started=lambda _: None)


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"])
async def test_a_silent_connection_is_closed(said: bytes) -> None:
    """Also after an earlier request; a request in progress goes on."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with open_databases() as databases, asyncio.timeout(10), asyncio.TaskGroup() as group:
        databases.delay = 0.8
        site = build(backend=backend_over(databases))
        group.create_task(serve(site, stop=stop, started=address.set_result, head_seconds=0.3))
        listen = await address
        answers = [
            group.create_task(exchange(listen, said)),
            group.create_task(exchange(listen, b"GET /api/v1/rules HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ]
        await asyncio.wait(answers)
        stop.set()
    assert answers[0].result().count(b"200 OK") == said.count(b"\r\n\r\n")
    assert answers[1].result().count(b"200 OK") == 1


async def test_a_busy_connection_stays_open() -> None:
    """Each request restarts the head timeout."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(serve(build(), stop=stop, started=address.set_result, head_seconds=1.0))
        listen = await address
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        for _ in range(10):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        assert await reader.read() == b""
        writer.close()
        stop.set()


async def test_the_server_installs_no_signal_handlers() -> None:
    """The owner of the loop handles signals."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with running():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_cancelled_server_frees_its_port() -> None:
    """Without a stop."""
    address = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(build(), stop=asyncio.Event(), started=address.set_result))
        listen = await address
        serving.cancel()
    with socket.create_server((listen.host, listen.port)):
        pass


async def test_two_hundred_concurrent_webhooks_are_all_recorded() -> None:
    """Each event once."""
    hooks = {"open": HookSource("distribution", "registry.example.com")}
    async with running(ServerSettings(hooks=hooks, bodies_at_once=1000)) as site:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(site.status("POST", "/hooks/open", data=envelope(f"v{n}"))) for n in range(200)]
        assert {call.result() for call in calls} == {202}
        assert len({event.tag for event in await site.events()}) == 200
