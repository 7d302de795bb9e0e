"""The results of the benchmark: runs, their medians, the ratio to the fastest peer, and the file that keeps them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from contestants import CONTESTANTS, FLOOR, OURS
from growth import Grown

_PEERS = frozenset(each.name for each in CONTESTANTS if each.program)
_HASHING = frozenset(each.name for each in CONTESTANTS if each.program and each.hashes)
_ORDER = {name: place for place, name in enumerate([*(each.name for each in CONTESTANTS), FLOOR])}
COLUMNS = (
    *("program", "wall s", "range (n)", "CPU s", "peak MiB", "registries CPU s"),
    *("requests: source", "target", "bytes: source", "target", "result"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall seconds, CPU seconds and MiB of the process tree, and CPU seconds of all registries.

    Figures from elsewhere may have only the wall seconds.
    """

    seconds: float
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    served_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests and bytes of one more run, at the source and at all targets together; bytes in both directions."""

    requests: tuple[int, int]
    bytes: tuple[int, int]


@dataclass(slots=True)
class Outcome:
    """The runs of one program in one row; *call* is the time of the call of the benchmark that measured them.

    *problem* says why the program has no valid result.
    """

    call: str
    version: str
    runs: list[Run] = field(default_factory=list[Run])
    counted: Counted | None = None
    problem: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether it has runs, all with the right result."""
        return bool(self.runs) and not self.problem

    @property
    def seconds(self) -> float:
        """The median of the wall seconds."""
        return median(run.seconds for run in self.runs)

    def cells(self) -> Sequence[str]:
        """Return the cells after the name, in the order of `COLUMNS`."""
        if not self.runs:
            return *[""] * 9, self.problem
        walls = [run.seconds for run in self.runs]
        counts = ["", "", "", ""]
        if self.counted is not None:
            counts = [*map(str, self.counted.requests), *map(size_text, self.counted.bytes)]
        return (
            f"{self.seconds:.2f}",
            f"{min(walls):.2f} to {max(walls):.2f} ({len(walls)})" if len(walls) > 1 else "one figure",
            _median(run.cpu_seconds for run in self.runs),
            _peak(self.runs),
            _median(run.served_seconds for run in self.runs),
            *counts,
            self.problem or "right",
        )


@dataclass(slots=True)
class Row:
    """One workload on one kind of registry, with the outcome of each program by name.

    *load* is the load average before the start, None if it is unknown. With *hashing* only peers that hash what they
    copy count as the fastest.
    """

    name: str
    about: str
    registry: str
    wanted: float
    load: float | None
    hashing: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])

    def ordered(self) -> Sequence[tuple[str, Outcome]]:
        """Return the outcomes, ours first."""
        return sorted(self.outcomes.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER)))

    def is_current(self, outcome: Outcome) -> bool:
        """Whether *outcome* is from the same call as our newest figures."""
        ours = self.outcomes.get(OURS)
        return ours is None or outcome.call == ours.call

    def fastest_peer(self) -> tuple[str, float] | None:
        """Return the fastest peer with a right result and its wall seconds; None without one."""
        names = _HASHING if self.hashing else _PEERS
        valid = {name: out.seconds for name, out in self.outcomes.items() if name in names and out.is_valid}
        return min(valid.items(), key=itemgetter(1), default=None)

    def ratio(self) -> float | None:
        """Return our wall time divided by that of the fastest peer; None without one of them."""
        ours, peer = self.outcomes.get(OURS), self.fastest_peer()
        return ours.seconds / peer[1] if ours is not None and ours.is_valid and peer else None

    def verdict(self) -> str:
        """Return the wanted ratio and what was reached."""
        peer, ratio = self.fastest_peer(), self.ratio()
        if peer is None or ratio is None:
            return f"wanted {self.wanted:.2f}; nothing to compare with"
        reached = "reached" if ratio <= self.wanted else "missed"
        fastest = f"the time of the fastest peer ({peer[0]}, {peer[1]:.2f} s)"
        return f"wanted {self.wanted:.2f} of {fastest}: {ratio:.2f}, {reached}"

    def merge(self, newer: "Row") -> "Row":
        """Return *newer* with the outcomes of this row that it does not have."""
        newer.outcomes = self.outcomes | newer.outcomes
        return newer


@dataclass(frozen=True, slots=True)
class Start:
    """Wall seconds of `image-syncer --help`, and of a Python that does nothing."""

    ours: Sequence[float]
    bare: Sequence[float]

    def sentence(self) -> str:
        """Return the medians as a sentence."""
        ours, bare = median(self.ours), median(self.bare)
        return f"image-syncer --help: {ours:.2f} s; python3 -c pass: {bare:.2f} s (medians of {len(self.ours)} runs)"


@dataclass(slots=True)
class Results:
    """All figures: *machine* and call of the newest, rows by name and registry, growth, and start-up.

    *trips* has the round trips in sequence of each case of `round_trips`.
    """

    machine: str = ""
    call: str = ""
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    grown: list[Grown] = field(default_factory=list[Grown])
    start: Start | None = None
    trips: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read a file of `save`; no results if it does not exist."""
        return _FILE.validate_json(path.read_bytes()) if path.is_file() else cls()

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_bytes(_FILE.dump_json(self, indent=1) + b"\n")

    def add(self, row: Row) -> None:
        """Add *row*; programs that it did not measure keep their earlier figures."""
        key = f"{row.name} on {row.registry}"
        earlier = self.rows.get(key)
        self.rows[key] = earlier.merge(row) if earlier else row

    def merge(self, newer: "Results") -> None:
        """Add everything that *newer* has."""
        self.machine, self.call = newer.machine, newer.call
        for row in newer.rows.values():
            self.add(row)
        self.grown = newer.grown or self.grown
        self.start = newer.start or self.start
        self.trips = newer.trips or self.trips


_FILE = TypeAdapter(Results)


def matrix(rows: Iterable[Row]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return the columns and the cells of a table with a row for each workload and a column for each program.

    The fastest right result is bold; figures with a dagger are from an earlier call than ours.
    """
    rows = list(rows)
    present: Mapping[str, None] = dict.fromkeys(name for row in rows for name, _ in row.ordered())
    names = sorted(present, key=lambda name: _ORDER.get(name, len(_ORDER)))
    return ("workload", *names, "wanted", "reached"), [_matrix_row(row, names) for row in rows]


def _matrix_row(row: Row, names: Sequence[str]) -> Sequence[str]:
    racing = [outcome.seconds for name, outcome in row.outcomes.items() if outcome.is_valid and name != FLOOR]
    best = min(racing, default=0.0)

    def cell(name: str) -> str:
        outcome = row.outcomes.get(name)
        if outcome is None:
            return ""
        mark = "" if row.is_current(outcome) else " †"
        if not outcome.is_valid:
            return outcome.problem.partition(":")[0] + mark
        text = f"{outcome.seconds:.2f}"
        return (f"**{text}**" if outcome.seconds == best and name != FLOOR else text) + mark

    ratio = row.ratio()
    return row.name, *map(cell, names), f"{row.wanted:.2f}", "" if ratio is None else f"{ratio:.2f}"


def size_text(count: float) -> str:
    """Return bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - the step from unit to unit
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.2f}" if known else ""


def _peak(runs: Iterable[Run]) -> str:
    known = [run.peak_mib for run in runs if run.peak_mib is not None]
    return f"{max(known):.0f}" if known else ""
