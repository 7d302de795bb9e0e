"""How much of a run is done, and how long the rest will take."""

import math
from typing import Final

from image_syncer.cli.progress import Tally
from image_syncer.structs import Struct

_SMOOTHING_SECONDS: Final = 5.0


def expected_bytes(tally: Tally) -> float:
    """Return the bytes that the whole run will move.

    Images that have not started count as the average of those that have, since their sizes are unknown.
    """
    started = tally.done + len(tally.active)
    if started == 0:
        return float(tally.known_bytes)
    return tally.known_bytes * max(1.0, tally.total / started)


def done_fraction(tally: Tally) -> float:
    """Return how much of the run is done, from 0 to 1: by bytes, or by images if no bytes have to be moved."""
    if not tally.total:
        return 0.0
    if tally.done >= tally.total:
        return 1.0
    expected = expected_bytes(tally)
    fraction = tally.moved_bytes / expected if expected > 0 else tally.done / tally.total
    return min(1.0, max(0.0, fraction))


class RemainingTime(Struct, frozen=False):
    """The remaining seconds of a run, smoothed so that the shown time does not jump."""

    _seconds: float | None = None
    _updated_at: float = 0.0

    def update(self, tally: Tally, rate: float) -> float | None:
        """Return the remaining seconds at the current *rate* in bytes per second, None if there is no estimate yet."""
        now = tally.elapsed
        passed, self._updated_at = now - self._updated_at, now
        current = _remaining_seconds(tally, rate)
        if self._seconds is None or current is None:
            self._seconds = current if self._seconds is None else self._seconds
            return self._seconds
        predicted = max(0.0, self._seconds - passed)
        self._seconds = predicted + (current - predicted) * (1 - math.exp(-passed / _SMOOTHING_SECONDS))
        return self._seconds


def _remaining_seconds(tally: Tally, rate: float) -> float | None:
    remaining_bytes = expected_bytes(tally) - tally.moved_bytes
    if remaining_bytes > 0:
        return remaining_bytes / rate if rate > 0 else None
    if not tally.done:
        return None
    return tally.elapsed / tally.done * (tally.total - tally.done)
