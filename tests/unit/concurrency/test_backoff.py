"""How long we rest between tries."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.concurrency.backoff import Backoff


@given(st.integers(min_value=0, max_value=10**9), st.integers())
def test_the_rest_grows_up_to_its_bound(failures: int, seed: int) -> None:
    """Never none (no hot loop), never longer than the bound, and half of it random (no herd)."""
    rest = Backoff(Random(seed), first=1.0, longest=30.0).after(failures)
    whole = min(30.0, 2.0 ** min(max(failures - 1, 0), 5))
    assert whole / 2 <= rest <= whole
