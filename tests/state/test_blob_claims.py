"""Claims on uploads among processes with one state, over SQLite with and without SQLAlchemy, and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from image_syncer.cache.backend import BlobKey, Neighbours, ReleaseRecord
from image_syncer.state.cache_tables import StateCacheBackend
from image_syncer.state.sql_session import SqlDatabase
from state.hints import KEEP, digest

A: BlobKey = ("target.test", digest("a"))
B: BlobKey = ("target.test", digest("b"))
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)

Process = Callable[..., StateCacheBackend]


@pytest.fixture
def process(cache_database: SqlDatabase) -> Process:
    """Return processes by name, which share one state, at a time that can be moved."""

    def named(name: str, later: float = 0.0) -> StateCacheBackend:
        now = NOW + timedelta(seconds=later)
        return StateCacheBackend(cache_database, keep=KEEP, now=lambda: now, holder=name)

    return named


async def test_a_blob_is_claimed_by_one_process(process: Process) -> None:
    """The other one gets it after the release."""
    one, two = process("one"), process("two")
    await one.announce(())
    await two.announce(())
    assert await one.claim_blobs([A]) == set()
    assert await one.claim_blobs([A, B]) == set()
    assert await two.claim_blobs([A]) == {A}
    await one.write([ReleaseRecord(*A)], tidy=False)
    assert await two.claim_blobs([A, B]) == {B}


async def test_a_process_shares_once_it_knows_about_others(process: Process) -> None:
    """Its announcement then writes the claims that it holds, so that a newcomer finds them."""
    one, two = process("one"), process("two")
    assert await one.announce(None) is Neighbours.NONE
    assert await two.announce(()) is Neighbours.SETTLING
    assert await one.announce([A]) is Neighbours.SHARING
    assert await two.announce(()) is Neighbours.SHARING
    assert await two.claim_blobs([A]) == {A}


async def test_a_process_that_is_alone_again_shares_no_longer(process: Process) -> None:
    """The next newcomer has to wait for its claims."""
    one, two = process("one"), process("two")
    await one.announce(())
    await two.announce(())
    assert await one.announce(()) is Neighbours.SHARING
    await two.withdraw()
    assert await one.announce(()) is Neighbours.NONE
    assert await one.announce(None) is Neighbours.NONE
    assert await process("three").announce(()) is Neighbours.SETTLING


async def test_claims_end_with_the_lease(process: Process) -> None:
    """30 seconds after the last announcement."""
    await process("one").announce(())
    await process("two").announce(())
    assert await process("one").claim_blobs([A]) == set()
    assert await process("two", later=29).claim_blobs([A]) == {A}
    assert await process("two", later=31).claim_blobs([A]) == set()
    assert await process("two", later=31).announce(()) is Neighbours.NONE


async def test_claims_end_with_the_withdrawal(process: Process) -> None:
    """A run that has ended keeps no other one waiting."""
    one, two = process("one"), process("two")
    await one.announce(())
    await two.announce(())
    await one.claim_blobs([A])
    await one.withdraw()
    assert await two.claim_blobs([A]) == set()


async def test_only_the_own_claim_is_released(process: Process) -> None:
    """A late release cannot end the claim of the process that took over."""
    one, two = process("one"), process("two")
    await one.announce(())
    await two.announce(())
    await two.claim_blobs([A])
    await one.write([ReleaseRecord(*A)], tidy=False)
    assert await one.claim_blobs([A]) == {A}


async def test_a_process_that_claims_again_after_its_withdrawal_is_found(process: Process) -> None:
    """A daemon is idle for a while, and then copies again."""
    one, two = process("one"), process("two")
    await one.announce(())
    await one.withdraw()
    assert await two.announce(None) is Neighbours.NONE
    assert await one.announce(()) is Neighbours.SETTLING
    assert await one.claim_blobs([A]) == set()
    assert await two.announce(()) is Neighbours.SHARING
    assert await two.claim_blobs([A]) == {A}
