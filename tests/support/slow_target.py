"""A run to a good target beside one that answers late or never: how long the good one takes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from image_syncer.app import Options, open_app
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.oci import Repository
from image_syncer.registry.settings import RegistryAccount
from image_syncer.sync.result import RunResult
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import Layers, single

Other = Literal["none", "late", "silent"]
"""The second target: none, one that answers each request after 3 s, or one that never answers."""

_LATE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class GoodTarget:
    """When the good target had its *first* image and *all* of them, in seconds since the start of the run.

    *source_blob_reads* counts the source's GETs of blobs until then.
    """

    first: float
    all: float
    source_blob_reads: int
    result: RunResult


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


async def measure_good_target(home: Path, other: Other, images: int, layers: Layers) -> GoodTarget:
    """Copy *images* images to a good target beside the *other* one, and stop once the good one has everything."""
    async with AsyncExitStack() as stack:
        source, good = (stack.enter_context(FakeRegistry.in_thread()) for _ in range(2))
        hosts = [good.host]
        if other == "late":
            late = stack.enter_context(FakeRegistry.in_thread())
            late.faults.add(faults.silence(_LATE_SECONDS))
            hosts.append(late.host)
        elif other == "silent":
            hosts.append(await stack.enter_async_context(silent_host()))
        for number in range(images):
            source.load("app", single(f"seed {number}", layers=layers), f"t{number}")
        targets = tuple(RuleTarget(Repository(host, "copy")) for host in hosts)
        options = Options((RegistryAccount("127.0.0.1", insecure=True),), retries=0, environment={}, home=home)
        stop = Shutdown(drain_seconds=0)
        syncer = await stack.enter_async_context(open_app(options))
        rule = Rule("app", Repository(source.host, "app"), AllTags(), targets)
        began = time.monotonic()
        first = 0.0
        run = asyncio.ensure_future(syncer.sync([rule], stop=stop))
        while (copied := len(good.content("copy").tags)) < images and not run.done():
            if copied and not first:
                first = time.monotonic() - began
            await asyncio.sleep(0.01)
        seconds, reads = time.monotonic() - began, source.requests.count(method="GET", kind="blob")
        copied = len(good.content("copy").tags)
        stop.requested.set()
        stop.at_once.set()
        result = await run
        if copied < images:
            raise RuntimeError(f"the good target has {copied} of {images} images")
        return GoodTarget(first or seconds, seconds, reads, result)
