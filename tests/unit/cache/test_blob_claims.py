"""Claims on uploads in one process, over a backend that tells who else is there."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from image_syncer.cache import blob_claims
from image_syncer.cache.backend import BlobKey, CacheBackend, LazyBackend, Neighbours
from image_syncer.cache.blob_claims import BlobClaims
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.concurrency.taskpool import background
from image_syncer.oci import Digest

A: BlobKey = ("target.test", Digest.of(b"a"))
B: BlobKey = ("target.test", Digest.of(b"b"))


class FakeBackend:
    """A backend with *neighbours*, one answer after the other, and blobs that are *foreign*."""

    def __init__(self, *neighbours: Neighbours) -> None:
        self.neighbours = list(neighbours)
        self.foreign: set[BlobKey] = set()
        self.claimed: list[BlobKey] = []
        self.looks = 0
        self.withdrawals = 0

    async def withdraw(self) -> None:
        """Count the withdrawal."""
        self.withdrawals += 1

    async def announce(self, held: Collection[BlobKey] | None) -> Neighbours:
        """Return the next answer, and the last one for ever."""
        self.looks += 1
        found = self.neighbours.pop(0) if len(self.neighbours) > 1 else self.neighbours[0]
        if held is not None:
            self.claimed += held
        return found

    async def claim_blobs(self, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Claim what is not foreign."""
        self.claimed += [key for key in keys if key not in self.foreign]
        return self.foreign & set(keys)


def claims_over(backend: FakeBackend) -> BlobClaims:
    """Return claims over *backend*."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[CacheBackend]:
        yield cast("Any", backend)

    return BlobClaims(WriteBehind(LazyBackend(opened, lambda: False), pytest.fail))


async def test_a_process_that_is_alone_writes_no_claim() -> None:
    """It looks once for both."""
    backend = FakeBackend(Neighbours.NONE)
    claims = claims_over(backend)
    assert await claims.claim(A)
    assert await claims.claim(B)
    assert (backend.claimed, backend.looks) == ([], 1)


async def test_a_blob_of_another_process_is_not_claimed() -> None:
    """Until that one has released it."""
    backend = FakeBackend(Neighbours.SHARING)
    backend.foreign.add(A)
    claims = claims_over(backend)
    assert not await claims.claim(A)
    assert await claims.claim(B)
    backend.foreign.clear()
    assert await claims.claim(A)
    assert backend.claimed == [B, A]


async def test_a_newcomer_waits_until_the_others_share() -> None:
    """They have to write the claims that they hold first."""
    backend = FakeBackend(Neighbours.SETTLING, Neighbours.SETTLING, Neighbours.SHARING)
    assert await claims_over(backend).claim(A)
    assert backend.looks == 3


async def test_claims_that_are_held_are_written_when_another_process_appears() -> None:
    """The background task looks while there are any."""
    backend = FakeBackend(Neighbours.NONE, Neighbours.NONE, Neighbours.SHARING)
    claims = claims_over(backend)
    await claims.claim(A)
    task = asyncio.create_task(claims.keep_alive())
    async with asyncio.timeout(5):
        while not backend.claimed:  # noqa: ASYNC110 - the backend sets no event
            await asyncio.sleep(0.01)
    task.cancel()
    assert backend.claimed == [A]


async def test_a_broken_backend_means_that_the_process_is_alone() -> None:
    """It costs a warning."""
    warnings = list[str]()

    @asynccontextmanager
    async def broken() -> AsyncGenerator[CacheBackend]:
        raise OSError("gone")
        yield

    claims = BlobClaims(WriteBehind(LazyBackend(broken, lambda: False), warnings.append))
    assert await claims.claim(A)
    assert await claims.claim(B)
    assert len(warnings) == 1


async def test_an_idle_process_asks_the_backend_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It withdraws; its next claim announces it again, and waits for the claims of others."""
    monkeypatch.setattr(blob_claims, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(blob_claims, "IDLE_SECONDS", 0.05)
    backend = FakeBackend(Neighbours.NONE)
    claims = claims_over(backend)
    async with background(claims.keep_alive()):
        assert await claims.claim(A)
        await asyncio.sleep(0.2)
        assert backend.withdrawals == 0  # The upload goes on.
        claims.release(A)
        await asyncio.sleep(0.2)
        looks = backend.looks
        assert backend.withdrawals == 1
        await asyncio.sleep(0.1)
        assert backend.looks == looks
        backend.neighbours[:] = [Neighbours.SETTLING, Neighbours.SHARING]
        assert await claims.claim(B)
        assert backend.looks > looks
        assert set(backend.claimed) == {B}
