"""A slow or silent target does not delay the other targets (`blob_scheduler`, `fan_out`)."""

from pathlib import Path

import pytest

from image_syncer.testing.images import Layers
from support.slow_target import Other, measure_good_target

pytestmark = pytest.mark.usefixtures("io_threads")


SMALL: Layers = (1000, 2000)
LARGE: Layers = (3_000_000,)
SLACK_SECONDS = 0.8
"""What the scheduling of a busy machine may add to a measurement of a second or two."""
ROUNDS = 3
"""A slow target that delays the good one does so in every round; other programs on the machine do not."""


@pytest.mark.slow
@pytest.mark.parametrize("other", ["late", "silent"])
@pytest.mark.parametrize(("images", "layers"), [(60, SMALL), (12, LARGE)], ids=["small", "large"])
async def test_a_slow_target_does_not_delay_a_good_one(
    other: Other, images: int, layers: Layers, tmp_path: Path
) -> None:
    """The good target has everything within 1.5 times the time that it needs alone."""
    ratios = list[float]()
    while not ratios or (min(ratios) > 1.5 and len(ratios) < ROUNDS):
        alone = await measure_good_target(tmp_path, "none", images, layers)
        together = await measure_good_target(tmp_path, other, images, layers)
        ratios.append((together.all - SLACK_SECONDS) / alone.all)
    assert min(ratios) <= 1.5, ratios


async def test_a_target_that_fell_behind_is_reported(tmp_path: Path) -> None:
    """Its reads cost the source a second time, so the user learns about it."""
    measured = await measure_good_target(tmp_path, "late", 2, LARGE)
    (warning,) = measured.result.warnings
    assert "slower than other targets; it fell behind" in warning
