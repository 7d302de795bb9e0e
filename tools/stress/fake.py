"""A FakeRegistry as a process; see `stress.fakes`.

python fake.py '{"profile": "oci", "holding": 0, "fault_share": 0.05, "reading_only": true, "seed": 1}'

It prints its host as JSON when it is ready, with its storage host if its profile has one; then, for each line on its
standard input, the number of faults so far. The line `calm` ends the faults, and `storage HOST` redirects blobs to
another host. It ends when its standard input closes.
"""

import json
import logging
import sys
from random import Random
from typing import Any, Final

from image_syncer.testing import faults
from image_syncer.testing.fake_registry import FakeRegistry
from stress.cut_ends import REPOSITORY, TAG, big_image, profile_of

_KIB: Final = 1024
_MIX: Final = (
    faults.answer(429, headers={"Retry-After": "1"}),
    faults.answer(500),
    faults.answer(503),
    faults.cut(after_bytes=100 * _KIB),
    faults.lost(),
    faults.silence(1.0),
    faults.drip(bytes_per_second=500 * _KIB),
)


def _serve(asked: dict[str, Any]) -> None:
    rng = Random(asked["seed"])  # noqa: S311 - reproducible faults, no secrets
    with FakeRegistry.in_thread(profile_of(asked["profile"]), rng=rng) as registry:
        if asked["holding"]:
            registry.load(REPOSITORY, big_image(asked["holding"]), TAG)
        if chance := asked["fault_share"] / len(_MIX):
            for fault in _MIX:
                for method in ("GET", "HEAD") if asked["reading_only"] else (None,):
                    registry.faults.add(fault, method=method, chance=chance)
        _say({"host": registry.host, "storage": registry.elsewhere.host if registry.profile.blobs_elsewhere else ""})
        for line in sys.stdin:
            match line.split():
                case ["calm"]:
                    registry.faults.clear()
                case ["storage", host]:
                    registry.elsewhere.host = host
                case _:
                    pass
            registry.requests.clear()  # It would grow without bounds.
            _say({"faults": len(registry.faults.fired)})


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A client that is cut off in the middle of a response would make aiohttp log a traceback.
    logging.getLogger("aiohttp.server").addHandler(logging.NullHandler())
    _serve(json.loads(sys.argv[1]))
