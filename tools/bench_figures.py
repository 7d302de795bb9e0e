"""The results of the benchmark: runs, their medians, and the ratio of two programs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from lab import Cost

_MIB = 1024 * 1024
COLUMNS = (
    *("workload", "program", "wall s", "CPU s", "peak MiB", "registries CPU s"),
    *("requests: source", "target", "bytes: source", "target", "ratio", "wanted"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its cost, and the requests and bytes at source and targets.

    Both are 0 if they were not counted. *served_seconds* is the CPU time of all registries.
    """

    cost: Cost
    asked: tuple[int, int]
    moved: tuple[int, int]
    served_seconds: float

    def times(self, factor: float) -> "Run":
        """Return a run extrapolated by *factor*; the peak memory stays."""
        seconds, cpu_seconds = self.cost.seconds * factor, self.cost.cpu_seconds * factor
        asked, moved = (tuple(round(count * factor) for count in counts) for counts in (self.asked, self.moved))
        cost = replace(self.cost, seconds=seconds, cpu_seconds=cpu_seconds)
        return Run(cost, (asked[0], asked[1]), (moved[0], moved[1]), self.served_seconds * factor)


@dataclass(slots=True)
class Statistics:
    """The timed runs of one program; *counted* is an additional run with counting, if the timed ones had none."""

    runs: list[Run] = field(default_factory=list[Run])
    counted: Run | None = None

    def times(self, factor: float) -> "Statistics":
        """Return the statistics extrapolated by *factor*."""
        counted = None if self.counted is None else self.counted.times(factor)
        return Statistics([run.times(factor) for run in self.runs], counted)

    @property
    def seconds(self) -> Sequence[float]:
        """Wall seconds of every run, in order."""
        return [run.cost.seconds for run in self.runs]

    @property
    def peak_bytes(self) -> float:
        """The highest peak memory of any run."""
        return max(run.cost.peak_bytes for run in self.runs)

    def row(self) -> Sequence[str]:
        """Return the cells: wall and CPU seconds, peak MiB, the registries' CPU, requests and bytes at both sides."""
        cpu = f"{median(run.cost.cpu_seconds for run in self.runs):.2f}"
        moving = self.runs if self.counted is None else [self.counted]
        asked = [median(run.asked[side] for run in moving) for side in (0, 1)]
        moved = [median(run.moved[side] for run in moving) for side in (0, 1)]
        peak = f"{self.peak_bytes / _MIB:.0f}"
        served = f"{median(run.served_seconds for run in self.runs):.2f}"
        return (f"{median(self.seconds):.2f}", cpu, peak, served, *(f"{n:.0f}" for n in asked), *map(size_text, moved))

    def spread(self) -> str:
        """Return the fastest and the slowest run."""
        return f"{min(self.seconds):.2f} to {max(self.seconds):.2f} s" if len(self.runs) > 1 else "one run"


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload with the runs of both programs.

    *sample* names the part from which skopeo's figures were extrapolated, empty if it did everything. *floor* is the
    time of a bare client.
    """

    name: str
    about: str
    wanted: float
    ours: Statistics
    theirs: Statistics
    sample: str = ""
    floor: Statistics | None = None

    @property
    def ratio(self) -> float:
        """The ratio of skopeo's median wall time to ours."""
        return median(self.theirs.seconds) / median(self.ours.seconds)

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield a row for each program, in the order of `COLUMNS`."""
        theirs = f"skopeo, extrapolated from {self.sample}" if self.sample else "skopeo"
        yield (self.name, "image-syncer", *self.ours.row(), f"{self.ratio:.2f}", f"{self.wanted:.1f}")
        yield ("", theirs, *self.theirs.row(), "1", "")
        if self.floor is not None:
            *figures, _, _, _, _ = self.floor.row()
            yield ("", "floor", *figures, "", "", "", "", f"{self.floor_ratio:.2f}", "")

    @property
    def floor_ratio(self) -> float:
        """The ratio if our own work took no time; 0 without a floor."""
        return median(self.theirs.seconds) / median(self.floor.seconds) if self.floor else 0.0

    def shortfall(self) -> str | None:
        """Return how far the machine limits the ratio, if it misses the goal; otherwise None."""
        if self.ratio >= self.wanted:
            return None
        text = f"**{self.name}**: {self.ratio:.2f} instead of {self.wanted:.1f}."
        if self.floor is None:
            return text
        cores, served = os.cpu_count() or 1, median(run.served_seconds for run in self.floor.runs)
        return (
            f"{text} The floor reaches {self.floor_ratio:.2f} without looking, hashing or remembering anything, and we "
            f"are at {self.ratio / self.floor_ratio:.0%} of that: its registries need {served:.2f} s of CPU, which on "
            f"{cores} cores is {served / cores:.2f} s at best."
        )

    def sentence(self) -> str:
        """Return what was copied, and the spread of the runs."""
        return f"**{self.name}**: {self.about}. image-syncer: {self.ours.spread()}; skopeo: {self.theirs.spread()}."


@dataclass(frozen=True, slots=True)
class Start:
    """Wall seconds of `image-syncer --help`, and of a Python that does nothing."""

    ours: Sequence[float]
    bare: Sequence[float]

    def sentence(self) -> str:
        """Return the medians as a sentence."""
        ours, bare = median(self.ours), median(self.bare)
        return f"image-syncer --help: {ours:.2f} s; python3 -c pass: {bare:.2f} s (medians of {len(self.ours)} runs)"


def size_text(count: float) -> str:
    """Return bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - the step from unit to unit
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
