"""The resources of processes over time, minute by minute, and whether they grow."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stress.report import Figure

_MIB: Final = 2**20
_ROW_SECONDS: Final = 60.0
_WARM_SHARE: Final = 0.15
"""The initial share of the time that is not compared: caches fill, pools open."""

SHORTEST_SECONDS: Final = 300.0
"""A shorter soak is not judged."""


@dataclass(frozen=True, slots=True)
class Held:
    """The resources of a process at one moment; *tasks* is None if unknown."""

    resident_mib: float
    descriptors: int
    threads: int
    tasks: int | None = None

    @classmethod
    def of(cls, pid: int, tasks: int | None = None) -> "Held":
        """Read it from /proc."""
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        resident, threads = int(status["VmRSS"][0]) * 1024, int(status["Threads"][0])
        return cls(resident / _MIB, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads, tasks)

    @property
    def figures(self) -> Mapping[str, float]:
        """The same by name."""
        tasks = {} if self.tasks is None else {"tasks": self.tasks}
        return {"MiB": self.resident_mib, "fds": self.descriptors, "threads": self.threads, **tasks}


@dataclass(frozen=True, slots=True)
class Margin:
    """How far the last third of a soak may exceed the first: a *share* of it plus *more*."""

    share: float
    more: float

    def allows(self, first: float, last: float) -> bool:
        """Whether *last* is no growth."""
        return last <= first * (1 + self.share) + self.more


# Most descriptors are connections, whose number depends on the current work.
MARGINS: Final[Mapping[str, Margin]] = {
    "MiB": Margin(0.05, 4),
    "fds": Margin(0.25, 8),
    "threads": Margin(0, 2),
    "tasks": Margin(0, 2),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of all processes, *at* seconds after the start: resources and, since the start, work done."""

    at: float
    held: Mapping[str, Held]
    done: Mapping[str, int]


Look = Callable[[], tuple[Mapping[str, Held], Mapping[str, int]]]


@dataclass(slots=True)
class Watch:
    """Samples, in order of time."""

    samples: list[Sample] = field(default_factory=list[Sample])

    def watch(self, look: Look, seconds: float, pause: float) -> None:
        """Take a sample each *pause* seconds, for so many *seconds*."""
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            self.samples.append(Sample(at, *look()))
            time.sleep(pause)

    def rows(self) -> list[dict[str, Figure]]:
        """Return a row for each minute: medians of the resources, and the work done in it."""
        rows: list[dict[str, Figure]] = []
        before: Mapping[str, int] = {}
        for minute in sorted({int(sample.at // _ROW_SECONDS) for sample in self.samples}):
            within = [sample for sample in self.samples if int(sample.at // _ROW_SECONDS) == minute]
            row: dict[str, Figure] = {"minute": minute + 1}
            for (who, what), values in _series(within).items():
                median = statistics.median(values)
                row[f"{who} {what}"] = round(median, 1) if what == "MiB" else round(median)
            done = within[-1].done
            row |= {name: count - before.get(name, 0) for name, count in done.items()}
            before = done
            rows.append(row)
        return rows

    def growth(self) -> list[str]:
        """Return everything that grew beyond its margin, from the first third after the warm-up to the last one."""
        if not self.samples or self.samples[-1].at < SHORTEST_SECONDS * (1 - _WARM_SHARE):
            return []
        warm = self.samples[round(len(self.samples) * _WARM_SHARE) :]
        third = len(warm) // 3
        first, last = _series(warm[:third]), _series(warm[-third:])
        medians = {key: (statistics.median(first[key]), statistics.median(last[key])) for key in first}
        return [
            f"{who}: {what} went from {before:.1f} to {after:.1f}"
            for (who, what), (before, after) in medians.items()
            if not MARGINS[what].allows(before, after)
        ]


def _series(samples: Sequence[Sample]) -> dict[tuple[str, str], list[float]]:
    """Return all values of each figure of each process."""
    series: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        for who, held in sample.held.items():
            for what, value in held.figures.items():
                series.setdefault((who, what), []).append(value)
    return series
