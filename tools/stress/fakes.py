"""FakeRegistries in processes of their own, so that what they cost is not taken from those who are tried."""

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
    """Run a FakeRegistry of the *profile* of that name; its host is in `ready` of what is handed out.

    It has the big image of `cut` of *holding* bytes, or nothing where that is 0. A share of its requests
    (*fault_share*, 0 to 1) meets a fault of some kind, which *seed* decides; *reading_only* spares those that push.
    Asked `calm`, it has no faults from then on; every answer says how many there were.
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
