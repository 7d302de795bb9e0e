"""A slow or silent target does not delay the other targets (`blob_scheduler`, `fan_out`)."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from image_syncer.app import Options, open_app
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.oci import Repository
from image_syncer.registry.settings import RegistryAccount
from image_syncer.sync.result import RunResult
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import Layers, single

SMALL: Layers = (1000, 2000)
LARGE: Layers = (3_000_000,)
SLACK_SECONDS = 0.8
"""What the scheduling of a busy machine may add to a measurement of a second or two."""


@asynccontextmanager
async def silent_host() -> AsyncGenerator[str]:
    """Yield the address of a server that accepts connections and never answers."""
    connections = list[asyncio.StreamWriter]()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in connections:
            writer.close()


async def seconds_of_good_target(home: Path, other: str, images: int, layers: Layers) -> tuple[float, RunResult]:
    """Copy to a good target beside the *other* one; return when the good one had everything, and the result."""
    async with AsyncExitStack() as stack:
        source, good = (stack.enter_context(FakeRegistry.in_thread()) for _ in range(2))
        hosts = [good.host]
        if other == "late":
            late = stack.enter_context(FakeRegistry.in_thread())
            late.faults.add(faults.silence(3.0))
            hosts.append(late.host)
        elif other == "silent":
            hosts.append(await stack.enter_async_context(silent_host()))
        for number in range(images):
            source.load("app", single(f"seed {number}", layers=layers), f"t{number}")
        targets = tuple(RuleTarget(Repository(host, "copy")) for host in hosts)
        options = Options((RegistryAccount("127.0.0.1", insecure=True),), retries=0, environment={}, home=home)
        stop = Shutdown(drain_seconds=0)
        syncer = await stack.enter_async_context(open_app(options))
        began = time.monotonic()
        rule = Rule("app", Repository(source.host, "app"), AllTags(), targets)
        run = asyncio.ensure_future(syncer.sync([rule], stop=stop))
        while len(good.content("copy").tags) < images and not run.done():  # noqa: ASYNC110 - a count is polled
            await asyncio.sleep(0.01)
        seconds = time.monotonic() - began
        assert len(good.content("copy").tags) == images
        stop.requested.set()
        stop.at_once.set()
        return seconds, await run


@pytest.mark.slow
@pytest.mark.parametrize("other", ["late", "silent"])
@pytest.mark.parametrize(("images", "layers"), [(60, SMALL), (12, LARGE)], ids=["small", "large"])
async def test_a_slow_target_does_not_delay_a_good_one(other: str, images: int, layers: Layers, tmp_path: Path) -> None:
    """The good target has everything within 1.5 times the time that it needs alone."""
    alone, _ = await seconds_of_good_target(tmp_path, "none", images, layers)
    together, _ = await seconds_of_good_target(tmp_path, other, images, layers)
    assert together <= 1.5 * alone + SLACK_SECONDS


async def test_a_target_that_fell_behind_is_reported(tmp_path: Path) -> None:
    """Its reads cost the source a second time, so the user learns about it."""
    _, result = await seconds_of_good_target(tmp_path, "late", 2, LARGE)
    (warning,) = result.warnings
    assert "slower than other targets; it fell behind" in warning
