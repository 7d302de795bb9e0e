"""Exponential back-off."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.concurrency.backoff import Backoff


@given(st.integers(min_value=0, max_value=10**9), st.integers())
def test_the_wait_doubles_up_to_its_bound(failures: int, seed: int) -> None:
    """At least half of it is fixed (no hot loop), the rest random (clients do not return all at once)."""
    wait = Backoff(Random(seed), first=1.0, longest=30.0).after(failures)
    full = min(30.0, 2.0 ** min(max(failures - 1, 0), 5))
    assert full / 2 <= wait <= full
