"""What a process learns from others that uploaded and ended, over one state."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import pytest

from image_syncer.cache.backend import LazyBackend
from image_syncer.cache.persistent import Caches, for_daemon
from image_syncer.state.cache_tables import StateCacheBackend
from image_syncer.state.sql_session import SqlDatabase
from state.hints import HERE, KEEP, blob, digest

KEY = (HERE.registry, digest("a"))


@asynccontextmanager
async def caches_over(backend: StateCacheBackend) -> AsyncGenerator[Caches]:
    """Yield the caches of a process."""
    async with for_daemon(
        LazyBackend(lambda: nullcontext(backend), lambda: False), pytest.fail, rest_seconds=60
    ) as caches:
        yield caches


async def upload_elsewhere(backend: StateCacheBackend) -> None:
    """Upload the blob in another process, which ends then."""
    async with caches_over(backend) as caches:
        assert await caches.blob_locations.claim(*KEY)
        caches.blob_locations.record(HERE, blob("a"))
        caches.blob_locations.release(*KEY)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_blob_that_another_process_uploaded_meanwhile_is_found(
    cache_database: SqlDatabase, *, is_busy: bool
) -> None:
    """Although it was absent before, and the other process has ended."""
    one, two = (StateCacheBackend(cache_database, keep=KEEP, holder=name) for name in ("one", "two"))
    async with caches_over(two) as caches:
        locations = caches.blob_locations
        if is_busy:
            assert await locations.claim(HERE.registry, digest("another"))
        assert await locations.holders(HERE.registry, [digest("a")]) == {}
        await upload_elsewhere(one)
        await asyncio.sleep(0.3 if is_busy else 0)  # It looks for others meanwhile, and finds none.
        assert await locations.claim(*KEY)
        assert await locations.holders(HERE.registry, [digest("a")]) == {digest("a"): HERE}


async def test_a_process_that_ends_writes_what_it_uploaded_before_its_claims_end(cache_database: SqlDatabase) -> None:
    """Otherwise another one that waits for the claim finds nothing, and uploads the blob again."""
    known = list[object]()

    class Watched(StateCacheBackend):
        async def withdraw(self) -> None:
            known.append(await self.holders(HERE.registry, [digest("a")]))
            await super().withdraw()

    backend = Watched(cache_database, keep=KEEP, holder="one")
    async with caches_over(backend) as caches:
        assert await caches.blob_locations.claim(*KEY)
        caches.blob_locations.record(HERE, blob("a"))
    assert known == [{digest("a"): HERE}]
