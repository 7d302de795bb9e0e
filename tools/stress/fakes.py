"""FakeRegistries in their own processes, so that they do not slow down the tested ones."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.subprocess_helper import HelperProcess

_PROGRAM: Final = Path(__file__).with_name("fake.py")


@contextmanager
def fake_registry(
    profile: str, *, holding: int = 0, fault_share: float = 0.0, reading_only: bool = False, seed: int = 1
) -> Generator[HelperProcess]:
    """Run a FakeRegistry with the *profile* of that name; `ready` of the yielded process has its host.

    It has the big image of `cut` with *holding* bytes, or nothing if that is 0. A share of its requests (*fault_share*,
    0 to 1) gets a fault drawn from *seed*; *reading_only* exempts pushes. After `calm` it has no faults; every response
    reports the number of faults so far.
    """
    asked = {
        "profile": profile,
        "holding": holding,
        "fault_share": fault_share,
        "reading_only": reading_only,
        "seed": seed,
    }
    child = HelperProcess(_PROGRAM, [json.dumps(asked)], bare=False)
    try:
        yield child
    finally:
        child.stop()
