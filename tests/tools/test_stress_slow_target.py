"""A slow target does not delay the other one: a short run of `script/stress slow-target`."""

import pytest

from support.stress import stress


@pytest.mark.slow
def test_a_late_or_silent_target_does_not_delay_the_good_one() -> None:
    """The good target has all images within 1.5 times the time that it needs alone."""
    figures, broken = stress("slow-target", "--images", "40")
    assert broken == []
    assert figures["images"] == 40
