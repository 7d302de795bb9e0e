"""Which connection carries the next HEAD."""

import pytest

from image_syncer.registry.http.lanes import FAR_SECONDS, choose

NEAR, FAR = FAR_SECONDS / 2, FAR_SECONDS * 2


@pytest.mark.parametrize(
    ("waiting", "round_trip", "expected"),
    [
        ([], None, 0),  # The first one is opened,
        ([0], None, 0),  # and used again while it has nothing to do.
        ([1], None, 1),  # Then up to four,
        ([5, 0, 2], NEAR, 1),
        ([2, 1, 3], NEAR, 3),
        ([3, 2, 2, 4], NEAR, 1),  # then the one with the least work,
        ([16, 16, 16, 16], NEAR, None),  # until all are full.
        ([3, 2, 2, 4], FAR, 4),  # Far origins get more connections
        ([4] * 16, FAR, None),  # with less on each.
        ([*([4] * 15), 3], FAR, 15),
        ([None, 2, 2, 4], NEAR, 4),  # So do those that let one wait,
        ([None] * 15, NEAR, 15),
        ([None] * 16, NEAR, None),  # within the same bound.
        ([None, *([3] * 15)], NEAR, 1),
    ],
)
def test_the_next_connection(waiting: list[int | None], round_trip: float | None, expected: int | None) -> None:
    """Idle ones first, then further ones, then the one with the least work."""
    assert choose(waiting, round_trip) == expected
