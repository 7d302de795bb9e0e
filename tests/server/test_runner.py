"""Starting, changing the settings in between, and stopping."""

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
from server.memory_backend import MemoryBackend, running
from server.test_hooks import envelope

LOOPBACK = Listen("127.0.0.1", 0)


def build(listen: Listen = LOOPBACK, settings: ServerSettings | None = None) -> Site:
    """Return a site over an empty backend."""
    metrics = Metrics(CollectorRegistry())
    return Site(listen, settings or ServerSettings(), MemoryBackend().backend(), metrics=metrics, clock=time.time)


async def exchange(listen: Listen, said: bytes) -> bytes:
    """Return all that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection(listen.host, listen.port)
    writer.write(said)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_an_exposed_site_is_not_built() -> None:
    """There is no way around the check."""
    with pytest.raises(UsageError, match="everybody who reaches this address"):
        build(Listen("0.0.0.0", 0))


async def test_settings_change_while_it_runs() -> None:
    """The next request is answered by the new ones, on the same connection."""
    async with running() as site:
        assert await site.status("GET", "/api/v1/rules") == 200
        site.site.change(ServerSettings(logins=(Bearer("t"),)))
        assert await site.status("GET", "/api/v1/rules") == 401


def test_refused_settings_leave_the_old_ones() -> None:
    """A change can not open what the start would not have."""
    site = build(Listen("0.0.0.0", 0), ServerSettings(logins=(Bearer("t"),)))
    with pytest.raises(UsageError):
        site.change(ServerSettings())


async def test_stop_lets_what_has_begun_end() -> None:
    """A hook that is being recorded when the stop comes still gets its answer; later calls find nobody."""
    hooks = {"open": HookSource("distribution", "registry.example.com")}
    async with running(ServerSettings(hooks=hooks), MemoryBackend(slow=0.4)) as site, asyncio.TaskGroup() as group:
        call = group.create_task(site.status("POST", "/hooks/open", data=envelope()))
        await asyncio.sleep(0.1)
        site.stop.set()
        assert await call == 202
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.listen.port)


async def test_stop_has_an_end() -> None:
    """What takes longer than the drain is given up, and the port is free again."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    memory = MemoryBackend(slow=60)
    site = Site(LOOPBACK, ServerSettings(), memory.backend(), metrics=Metrics(CollectorRegistry()), clock=time.time)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        serving = group.create_task(serve(site, stop=stop, started=address.set_result, drain_seconds=1))
        listen = await address
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        writer.write(b"GET /api/v1/rules HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        stop.set()
        await serving
        writer.close()
    with socket.create_server((listen.host, listen.port)):
        pass


async def test_a_taken_port_is_a_usage_error() -> None:
    """With the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = Listen(*taken.getsockname())
        with pytest.raises(UsageError, match=f"{listen}: cannot be listened at"):
            await serve(build(listen), stop=asyncio.Event(), started=lambda _: None)


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
async def test_a_silent_connection_is_closed(said: bytes) -> None:
    """Also where a request came before, and only where the head of one is missing: what is being answered goes on."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    memory = MemoryBackend(slow=0.8)
    site = Site(LOOPBACK, ServerSettings(), memory.backend(), metrics=Metrics(CollectorRegistry()), clock=time.time)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(serve(site, stop=stop, started=address.set_result, head_seconds=0.3))
        listen = await address
        answers = [
            group.create_task(exchange(listen, said)),
            group.create_task(exchange(listen, b"GET /api/v1/rules HTTP/1.1\r\nHost: x\r\n\r\n")),
        ]
        await asyncio.wait(answers)
        stop.set()
    assert answers[0].result().count(b"200 OK") == said.count(b"\r\n\r\n")
    assert answers[1].result().count(b"200 OK") == 1


async def test_a_busy_connection_stays_open() -> None:
    """Short requests with short pauses: the patience begins anew with each of them."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(serve(build(), stop=stop, started=address.set_result, head_seconds=1.0))
        listen = await address
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        for _ in range(10):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        assert await reader.read() == b""
        writer.close()
        stop.set()


async def test_signals_are_left_alone() -> None:
    """Who owns the loop owns the signals."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with running():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_cancelled_server_frees_its_port() -> None:
    """Also where nobody told it to stop."""
    address = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(build(), stop=asyncio.Event(), started=address.set_result))
        listen = await address
        serving.cancel()
    with socket.create_server((listen.host, listen.port)):
        pass


async def test_many_calls_at_once_are_all_recorded() -> None:
    """Two hundred senders, each event once."""
    hooks = {"open": HookSource("distribution", "registry.example.com")}
    async with running(ServerSettings(hooks=hooks, bodies_at_once=1000)) as site, asyncio.TaskGroup() as group:
        calls = [group.create_task(site.status("POST", "/hooks/open", data=envelope(f"v{n}"))) for n in range(200)]
    assert {call.result() for call in calls} == {202}
    assert len({event.tag for event in site.memory.event_rows}) == 200
