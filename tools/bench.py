"""Benchmark image-syncer against skopeo, in turns and on the same registries, and write docs/benchmarks.md.

Called by script/bench. `--full` adds slow measurements, `--only NAME` measures single rows, and `--quick` runs a small
version of everything; the last two write nothing.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench_figures import Measured, Start
from bench_report import Results, growth_table, page, table
from bench_runner import run_workload
from bench_site import storage_parent
from growth import Grown, grow
from lab import clean_environment, measure, our_command, stop_on_signals
from workloads import NEAR, QUICK, Workload, default_rows, further_rows, quick_rows

_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_QUIET_LOAD = 0.5
_WIDTH = 200  # Tables take the width they need: a truncated row is useless.
_GROWTH, _PLAN = "growth", "plan"


@dataclass(frozen=True, slots=True)
class Program:
    """The workloads of one call; *counts* are numbers of up-to-date tags, *planned* tags to plan for (0: none)."""

    rows: Sequence[Workload]
    counts: Sequence[int]
    planned: int
    pairs: int
    written: bool = False

    def only(self, names: Sequence[str]) -> "Program":
        """Return the part that *names* selects; such a result is not written to the page."""
        counts = self.counts if _GROWTH in names else ()
        rows = [row for row in self.rows if row.name in names]
        return Program(rows, counts, self.planned if _PLAN in names else 0, self.pairs)

    @property
    def names(self) -> Sequence[str]:
        """Return the available names."""
        return [*(row.name for row in self.rows), _GROWTH, _PLAN]


_QUICK = Program(quick_rows(), (10, 100), 100, QUICK.pairs)
_COUNTS, _PLANNED = (100, 1_000, 10_000, 100_000), 100_000
_DEFAULT = Program(default_rows(), _COUNTS, _PLANNED, NEAR.pairs, written=True)
_FULL = Program([*default_rows(), *further_rows()], _COUNTS, _PLANNED, NEAR.pairs, written=True)


def main() -> int:
    """Measure, print, and write the page if everything was measured; 2 if a program is missing."""
    program = _chosen()
    missing = [name for name in ("docker-registry", "skopeo") if shutil.which(name) is None]
    if missing:
        print(f"not installed: {' and '.join(missing)}; the benchmark compares with them", file=sys.stderr)
        return 2
    load, console = os.getloadavg()[0], Console(highlight=False, soft_wrap=True, width=_WIDTH)
    if load > _QUIET_LOAD:
        console.print(f"the machine is busy (load average {load:.2f}): the figures will be inaccurate", style="yellow")
    with stop_on_signals(), ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="image-syncer-bench-", dir=storage_parent())
        directory = Path(stack.enter_context(temporary))
        rows = [run_workload(row, directory, program.pairs, console.print) for row in program.rows]
        grown = list(grow(program.counts, program.planned, directory, console.print))
        start = _start_up(directory, max(3, program.pairs))
    _show(console, rows, grown)
    console.print(start.sentence())
    if program.written:
        _PAGE.write_text(page(Results(rows, grown, start, load)), encoding="utf-8")
        console.print(f"written: {os.path.relpath(_PAGE)}")
    return 0


def _chosen() -> Program:
    parser = argparse.ArgumentParser(prog="script/bench", description="Benchmark image-syncer against skopeo.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, one run each; writes nothing")
    size.add_argument("--full", action="store_true", help="10 000 tags with skopeo, full size for distant registries")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=_FULL.names,
        help=f"only this row, in every size; repeatable; writes nothing: {', '.join(_FULL.names)}",
    )
    arguments = parser.parse_args()
    if arguments.only:
        return (_QUICK if arguments.quick else _FULL).only(arguments.only)
    return _QUICK if arguments.quick else _FULL if arguments.full else _DEFAULT


def _start_up(directory: Path, runs: int) -> Start:
    """Measure the time of `--help`, and of a Python that does nothing."""
    costs: dict[str, list[float]] = {"help": [], "pass": []}
    commands = {"help": [our_command(), "--help"], "pass": [sys.executable, "-c", "pass"]}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(measure(command, clean_environment(directory)).seconds)
    return Start(tuple(costs["help"]), tuple(costs["pass"]))


def _show(console: Console, rows: Sequence[Measured], grown: Sequence[Grown]) -> None:
    if rows:
        console.print(table(rows))
    if grown:
        console.print(growth_table(grown))


if __name__ == "__main__":
    sys.exit(main())
