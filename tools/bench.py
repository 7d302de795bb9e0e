"""Measure image-syncer beside skopeo, alternately and on the same registries, and write docs/benchmarks.md.

Called by script/bench. `--quick` does a small version of everything and writes nothing.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench_report import Measured, Start, Statistics, page, table
from image_syncer.testing.servers import DockerRegistry
from lab import clean_environment, measure, our_command, stop_on_signals
from seeding import Seeder
from workloads import FULL, QUICK, Ends, Job, Sizes, Workload, workloads

_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_QUIET_LOAD = 0.5


class Bench:
    """Runs workloads in *directory*, reading from one registry that all of them share."""

    def __init__(self, directory: Path, source: DockerRegistry, sizes: Sizes, console: Console) -> None:
        self._directory = directory
        self._source = source
        self._sizes = sizes
        self._console = console
        self._environment = clean_environment(directory)

    def run(self, workload: Workload) -> Measured:
        """Fill the source, then run both programs in turns; the order is A B, A B."""
        self._console.print(f"{workload.name}: {workload.about}")
        with Seeder(self._source.host) as seeder:
            workload.seed(seeder)
        ours, theirs = Statistics(), Statistics()
        with ExitStack() as stack:
            kept = None if workload.fresh else self._filled_target(stack, workload)
            for number in range(self._sizes.pairs):
                self._measure(workload.ours, ours, kept)
                self._measure(workload.theirs, theirs, kept)
                self._console.print(
                    f"  pair {number + 1}: {ours.seconds[-1]:.2f} s, skopeo {theirs.seconds[-1]:.2f} s", style="dim"
                )
        return Measured(workload.name, workload.about, workload.wanted, ours, theirs)

    def start_up(self) -> Start:
        """Measure how long `--help` takes, beside a Python that does nothing."""
        costs: dict[str, list[float]] = {"help": [], "pass": []}
        commands = {"help": [our_command(), "--help"], "pass": [sys.executable, "-c", "pass"]}
        for _ in range(max(3, self._sizes.pairs)):
            for name, command in commands.items():
                costs[name].append(measure(command, self._environment).seconds)
        return Start(tuple(costs["help"]), tuple(costs["pass"]))

    def _filled_target(self, stack: ExitStack, workload: Workload) -> DockerRegistry:
        target = stack.enter_context(DockerRegistry())
        measure(workload.ours(self._ends(target)), self._environment)
        return target

    def _measure(self, job: Job, statistics: Statistics, kept: DockerRegistry | None) -> None:
        """Run one program once, into *kept* or into a registry with nothing in it."""
        with ExitStack() as stack:
            target = kept or stack.enter_context(DockerRegistry())
            command = job(self._ends(target))
            before = len(self._source.read_requests()), len(target.read_requests())
            cost = measure(command, self._environment)
            after = len(self._source.read_requests()), len(target.read_requests())
            asked = after[0] - before[0], after[1] - before[1]
        statistics.add(cost, asked)

    def _ends(self, target: DockerRegistry) -> Ends:
        return Ends(self._source.host, target.host, self._directory)


def main() -> int:
    """Measure everything, show it, and write the page unless it is a smoke test; 2 where a program is missing."""
    parser = argparse.ArgumentParser(description="Measure image-syncer beside skopeo.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each; writes nothing")
    quick: bool = parser.parse_args().quick
    missing = [program for program in ("docker-registry", "skopeo") if shutil.which(program) is None]
    if missing:
        print(f"not installed: {' and '.join(missing)}; there is nothing to measure against", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    sizes, console = (QUICK if quick else FULL), Console(highlight=False, soft_wrap=True)
    if load > _QUIET_LOAD:
        console.print(f"the machine is busy (load average {load:.2f}): the figures will be off", style="yellow")
    with stop_on_signals(), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-syncer-bench-")))
        source = stack.enter_context(DockerRegistry())
        bench = Bench(directory, source, sizes, console)
        rows: Sequence[Measured] = [bench.run(workload) for workload in workloads(sizes)]
        start = bench.start_up()
    console.print(table(rows))
    console.print(start.sentence())
    if not quick:
        _PAGE.write_text(page(rows, start, load), encoding="utf-8")
        console.print(f"written: {os.path.relpath(_PAGE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
