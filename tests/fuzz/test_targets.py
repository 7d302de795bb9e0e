"""Every fuzz target for a moment; `script/fuzz` runs them as long as you like."""

import sys
import time
from random import Random

import pytest

from fuzz.inputs import mutations
from fuzz.run import kept_inputs
from fuzz.targets import TARGETS

SECONDS = 0.3
SLOW_SECONDS = 5.0


@pytest.mark.parametrize("name", TARGETS)
def test_earlier_findings_stay_fixed(name: str) -> None:
    """And the usual inputs are parsed."""
    target = TARGETS[name]
    assert target.seeds
    for data in (*target.seeds, *kept_inputs(name), b""):
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_a_value_or_our_error(name: str) -> None:
    """And soon. The inputs are the same in every run."""
    target, end = TARGETS[name], time.monotonic() + SECONDS
    for data in mutations([*target.seeds, *kept_inputs(name)], target.words, Random(name)):
        began = time.monotonic()
        try:
            target.run(data)
        except Exception:
            sys.stderr.write(f"the input: {data!r}\n")
            raise
        assert time.monotonic() - began < SLOW_SECONDS, data
        if began > end:
            break
