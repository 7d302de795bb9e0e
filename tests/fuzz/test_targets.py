"""Every parser of untrusted bytes, for a moment; `script/fuzz` does the same for as long as one likes."""

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
def test_what_was_found_before_is_mended(name: str) -> None:
    """And the usual inputs get where they should."""
    target = TARGETS[name]
    assert target.seeds
    for data in (*target.seeds, *kept_inputs(name), b""):
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_are_an_error_of_another_kind(name: str) -> None:
    """Whatever comes: a value or an error of ours, and soon. The inputs are the same in every run."""
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
