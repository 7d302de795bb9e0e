"""What the benchmark found, as a table for the terminal and as docs/benchmarks.md."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.table import Table

from lab import Cost

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Statistics:
    """The runs of one program: seconds, CPU seconds, peak bytes, and requests at source and target."""

    costs: list[Cost] = field(default_factory=list[Cost])
    asked: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def add(self, cost: Cost, asked: tuple[int, int]) -> None:
        """Note one run."""
        self.costs.append(cost)
        self.asked.append(asked)

    @property
    def seconds(self) -> Sequence[float]:
        """Wall seconds of every run, in order."""
        return [cost.seconds for cost in self.costs]

    def row(self) -> Sequence[str]:
        """Return the medians as texts: wall and CPU seconds, peak MiB, requests at both sides."""
        cpu = f"{median(cost.cpu_seconds for cost in self.costs):.2f}"
        peak = f"{median(cost.peak_bytes for cost in self.costs) / _MIB:.0f}"
        source, target = (median(counts) for counts in zip(*self.asked, strict=True))
        return (f"{median(self.seconds):.2f}", cpu, peak, f"{source:.0f}", f"{target:.0f}")

    def spread(self) -> str:
        """Return the fastest and the slowest run."""
        return f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload with the runs of both programs."""

    name: str
    about: str
    wanted: float
    ours: Statistics
    theirs: Statistics

    @property
    def ratio(self) -> float:
        """How many times as fast as skopeo we are, by the medians of the wall time."""
        return median(self.theirs.seconds) / median(self.ours.seconds)

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield a row for each program."""
        yield (self.name, "image-syncer", *self.ours.row(), f"{self.ratio:.2f}")
        yield ("", "skopeo", *self.theirs.row(), "1")

    def sentence(self) -> str:
        """Say what was copied, how far the runs lie apart, and what ratio we want."""
        spreads = f"image-syncer {self.ours.spread()} s, skopeo {self.theirs.spread()} s"
        return f"**{self.name}**: {self.about}. Runs: {spreads}. Wanted ratio: {self.wanted:.1f}."


@dataclass(frozen=True, slots=True)
class Start:
    """Wall seconds of `image-syncer --help` and of a Python that does nothing."""

    ours: Sequence[float]
    bare: Sequence[float]

    def sentence(self) -> str:
        """Return the medians in words."""
        ours, bare = median(self.ours), median(self.bare)
        return f"image-syncer --help: {ours:.2f} s; python3 -c pass: {bare:.2f} s (medians of {len(self.ours)} runs)"


_COLUMNS = ("workload", "program", "wall s", "CPU s", "MiB", "source", "target", "ratio")


def table(rows: Sequence[Measured]) -> Table:
    """Return the results for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(_COLUMNS):
        shown.add_column(column, justify="left" if number < 2 else "right")  # noqa: PLR2004 - the two names
    for row in rows:
        for cells in row.rows():
            shown.add_row(*cells)
    return shown


def page(rows: Sequence[Measured], start: Start, load: float) -> str:
    """Return docs/benchmarks.md; *load* is what the machine had to do before we began."""
    pairs = len(rows[0].ours.costs)
    lines = [
        "# Benchmarks",
        "",
        "Written by `script/bench`; do not edit.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}. {_machine()}. Load average before the start: {load:.2f}.",
        "Both registries are `docker-registry` on loopback and share the machine with the program that is measured.",
        f"{pairs} pairs of runs, the two programs in turns; medians.",
        "Time and memory (the peak) are those of the whole process, its start included.",
        "Under source and target stand the requests that the registries counted.",
        "The ratio is skopeo's wall time divided by ours. Loopback has no latency, so it favours who asks one by one.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * 2}{'---:|' * (len(_COLUMNS) - 2)}",
        *(f"| {' | '.join(cells)} |" for row in rows for cells in row.rows()),
        "",
        *(f"* {row.sentence()}" for row in rows),
        "",
        f"{start.sentence()}.",
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    """Return processor, cores and versions; nothing that tells whose machine it is."""
    programs = ", ".join(
        _first_line(command) for command in (["skopeo", "--version"], ["docker-registry", "--version"])
    )
    python = f"Python {platform.python_version()}"
    ours = f"image-syncer {version('image-syncer')}, aiohttp {version('aiohttp')}"
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, {python}, {ours}, {programs}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def _first_line(command: Sequence[str]) -> str:
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    return " ".join(output.strip().splitlines()[0].split())
