"""`limits.transfers` of a registry also bounds how many large blobs a run reads from it at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from image_syncer.app import Options, open_app
from image_syncer.oci import Reference
from image_syncer.registry.settings import HostLimits
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

LARGE = 2 * 1024 * 1024
LAYERS = 8


def counting_reads(large: set[str], most: list[int], wanted: int) -> Callable[[web.Request], Awaitable[None]]:
    """Return an interceptor that keeps the highest number of concurrent reads of *large* blobs.

    The first reads wait until *wanted* of them run, however busy the machine is; later ones show whether more do.
    """
    running = 0
    reached = asyncio.Event()

    async def hold(request: web.Request) -> None:
        nonlocal running
        if request.method != "GET" or request.path.rpartition("/")[2] not in large:
            return
        running += 1
        most[0] = max(most[0], running)
        if running == wanted:
            reached.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(reached.wait(), 20.0)
        await asyncio.sleep(0.1)
        running -= 1

    return hold


async def most_reads_at_once(transfers: int, of_source: int | None, wanted: int) -> int:
    """Copy 8 large layers to two targets and return the highest number of reads at once; *wanted* is expected."""
    most = [0]
    async with FakeRegistry() as source, FakeRegistry() as one, FakeRegistry() as other:
        image = single("reads", layers=[LARGE] * LAYERS)
        large = {str(digest) for digest, blob in image.blobs.items() if blob.size_bytes >= LARGE}
        source.load("app", image, "v1")
        source.intercept.append(counting_reads(large, most, wanted))
        limits = {one.host: HostLimits(transfers=LAYERS), other.host: HostLimits(transfers=LAYERS)}
        if of_source is not None:
            limits[source.host] = HostLimits(transfers=of_source)
        async with open_app(Options(transfers=transfers, host_limits=limits)) as syncer:
            targets = [Reference.parse(f"{target.host}/app:v1") for target in (one, other)]
            result = await syncer.copy(Reference.parse(f"{source.host}/app:v1"), targets)
    assert not result.failed
    return most[0]


async def test_a_host_limit_above_the_default_allows_more_reads() -> None:
    """A source that may serve 5 transfers serves 5, whatever the default for other registries is."""
    assert await most_reads_at_once(2, of_source=5, wanted=5) == 5


async def test_without_a_host_limit_the_default_bounds_reads() -> None:
    """`--proc` is the limit for every registry that has none of its own."""
    assert await most_reads_at_once(2, of_source=None, wanted=2) == 2
