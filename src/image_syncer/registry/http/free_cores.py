"""Whether this machine has a core to spare for a thread that moves bytes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
_INTERVAL_SECONDS: Final = 0.5
_ENOUGH: Final = 0.3
"""The part of a core that must be idle."""


class FreeCores:
    """Watches the machine's idle time and our own use, twice a second at most.

    Our own use beyond one core counts as free: it is what the threads took. Without that, they would switch themselves
    off by using the free cores. *usable*, *idle* and *used* replace the system's figures.
    """

    def __init__(
        self,
        *,
        usable: Callable[[], float] | None = None,
        idle: Callable[[], float | None] | None = None,
        used: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_single = (usable or usable_cores)() < 1 + _ENOUGH
        self._idle_seconds = idle or idle_seconds
        self._used_seconds = used
        self._clock = clock
        self._last: tuple[float, float | None, float] | None = None
        self._has_free = not self._is_single

    def has_free(self) -> bool:
        """Whether a core is free; without figures, whether there is more than one core."""
        if self._is_single:
            return False
        now = self._clock()
        if self._last is not None and now - self._last[0] < _INTERVAL_SECONDS:
            return self._has_free
        idle, used = self._idle_seconds(), self._used_seconds()
        if self._last is not None and idle is not None and self._last[1] is not None:
            seconds = now - self._last[0]
            ours_beyond_one = max(0.0, (used - self._last[2]) / seconds - 1)
            self._has_free = (idle - self._last[1]) / seconds + ours_beyond_one >= _ENOUGH
        self._last = now, idle, used
        return self._has_free


def usable_cores() -> float:
    """Return how many cores this process may use, by its affinity and the quota of its control group."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        limit = float("inf") if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        limit = float("inf")
    return min(limit, _affinity())


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # Not on every system.
        return os.cpu_count() or 1


def idle_seconds() -> float | None:
    """Return how long all cores together have been idle; None where the system does not say it."""
    try:
        with _STAT.open(encoding="ascii") as file:
            fields = file.readline().split()
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
