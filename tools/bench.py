"""Race image-syncer against its peers, in turns and on the same registries, and write docs/benchmarks.md.

Called by script/bench. Every peer and registry that is found on PATH or in `--peers DIR` takes part. A call for all
rows at full scale writes the page; with rows or programs named it does so only with `--write`.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench_figures import Results, Row, Start
from bench_report import growth_table, machine, page, row_table, trips_table
from bench_runner import Entrant, Race, Settings
from bench_site import REGISTRIES, RegistryKind, storage_parent
from contestants import CONTESTANTS, OURS
from growth import grow
from lab import clean_environment, measure, our_command, stop_on_signals
from round_trips import CASES, fewest_round_trips
from workloads import DEFAULT_ROWS, ROWS, Workload, over_tls

_DOCS = Path(__file__).parent.parent / "docs"
_QUIET_LOAD = 0.5
_WIDTH = 200  # Tables take the width they need: a truncated row is useless.
_GROWTH, _PLAN, _TRIPS = "growth", "plan", "round-trips"
_COUNTS, _PLANNED = (100, 1_000, 10_000, 100_000), 100_000
_QUICK_SCALE, _QUICK_TAGS = 0.02, 1000


@dataclass(frozen=True, slots=True)
class Program:
    """One call: the rows, numbers of up-to-date tags for the growth, tags to plan for (0: none), and what it writes.

    With *trips* it counts round trips in sequence.
    """

    rows: Sequence[Workload]
    counts: Sequence[int]
    planned: int
    trips: bool
    registry: str
    entrants: Sequence[Entrant]
    settings: Settings
    json: Path | None
    written: bool


def main() -> int:
    """Measure, print, and write the page; 1 if one of our runs is wrong, 2 if a program is missing."""
    options = _parse()
    console = Console(highlight=False, soft_wrap=True, width=_WIDTH)
    program = _plan(options, console)
    if program is None:
        return 2
    load = os.getloadavg()[0]
    if load > _QUIET_LOAD:
        console.print(f"the machine is busy (load average {load:.2f}): the figures will be inaccurate", style="yellow")
    with stop_on_signals(), ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="image-syncer-bench-", dir=storage_parent())
        results = _measure(program, Path(stack.enter_context(temporary)), console)
    _save(program, results)
    if program.written:
        console.print("written: docs/benchmarks.md")
    ours = [outcome for row in results.rows.values() for name, outcome in row.outcomes.items() if name.startswith(OURS)]
    return int(any(outcome.problem for outcome in ours))


def _measure(program: Program, directory: Path, console: Console) -> Results:
    """Run everything, print each result, and save the rows as they come."""
    results = Results(machine(), program.settings.call)
    for workload in program.rows:
        console.print(f"{workload.name}: {workload.about}", style="bold")
        scale = program.settings.scale
        about = workload.about if scale == 1 else f"{workload.about}; scale {scale:g}"
        row = Row(workload.name, about, program.registry, workload.wanted, os.getloadavg()[0], workload.hashing)
        entrants = [each for each in program.entrants if each.takes_part(workload)]
        with Race(workload, program.settings, directory, console.print) as race:
            row.outcomes = race.run(entrants)
        results.add(row)
        console.print(row_table(row))
        console.print(row.verdict())
        _save(program, results)
    results.grown = list(grow(program.counts, program.planned, directory, console.print))
    if results.grown:
        console.print(growth_table(results.grown))
        results.start = _start_up(directory, max(3, program.settings.rounds))
        console.print(results.start.sentence())
    if program.trips:
        results.trips = {name: fewest_round_trips(case).depth for name, case in CASES.items()}
        console.print(trips_table(results.trips))
    return results


def _save(program: Program, results: Results) -> None:
    """Write what has been measured so far: an interrupted call keeps its rows."""
    if program.json:
        _merge_into(program.json, results)
    if program.written:
        kept = _DOCS / "benchmarks.json"
        _merge_into(kept, results)
        (_DOCS / "benchmarks.md").write_text(page(Results.load(kept)), encoding="utf-8")


def _merge_into(path: Path, newer: Results) -> None:
    results = Results.load(path)
    results.merge(newer)
    results.save(path)


def _plan(options: argparse.Namespace, console: Console) -> Program | None:
    """Return what *options* ask for; None after a message if there is no registry or nothing to compare with."""
    kinds = {name: kind.find(options.peers) for name, kind in REGISTRIES.items()}
    registry = options.registry or next((name for name, kind in kinds.items() if kind), "2.8")
    kind, entrants = kinds[registry], _entrants(options, console)
    missing = [] if kind else [REGISTRIES[registry].program]
    if not any(each.contestant.program for each in entrants):
        missing.append("any peer, such as skopeo")
    if kind is None or missing:
        print(f"not installed: {' and '.join(missing)}; the benchmark compares with them", file=sys.stderr)
        return None
    names = options.rows or [*DEFAULT_ROWS, _GROWTH, _PLAN, _TRIPS]
    rows = dict.fromkeys(over_tls(name) if options.tls else name for name in names if name in ROWS)
    counts = ((10, 100) if options.quick else _COUNTS) if _GROWTH in names else ()
    planned = (_QUICK_TAGS if options.quick else _PLANNED) if _PLAN in names else 0
    whole = options.scale == 1 and not (options.rows or options.programs or options.tls)
    return Program(
        [ROWS[name] for name in rows],
        counts,
        planned,
        _TRIPS in names,
        registry,
        entrants,
        _settings(options, kind),
        options.json,
        written=options.write or (whole and options.json is None),
    )


def _settings(options: argparse.Namespace, kind: RegistryKind) -> Settings:
    call = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    return Settings(kind, options.rounds, options.scale, counted=options.count, call=call)


def _entrants(options: argparse.Namespace, console: Console) -> Sequence[Entrant]:
    """Return the programs that are present, and name the others."""
    found: list[Entrant] = []
    for each in CONTESTANTS:
        if options.programs and each.name not in options.programs:
            continue
        path = each.find(options.peers)
        if path is None:
            console.print(f"left out, as it is not installed: {each.name} ({each.program})", style="dim")
        else:
            found.append(Entrant(each, path, each.read_version(path)))
    return found


def _parse() -> argparse.Namespace:
    names = [*ROWS, _GROWTH, _PLAN, _TRIPS]
    programs = [each.name for each in CONTESTANTS]
    parser = argparse.ArgumentParser(prog="script/bench", description="Race image-syncer against its peers.")
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"rows to measure, by default {', '.join(DEFAULT_ROWS)}; also -tls of each",
    )
    parser.add_argument("--peers", type=Path, metavar="DIR", help="directory with binaries of peers and registries")
    parser.add_argument("--programs", type=_names, metavar="NAME,...", help=f"only these: {', '.join(programs)}")
    parser.add_argument("--registry", choices=REGISTRIES, help="default: the first that is installed")
    parser.add_argument("--tls", action="store_true", help="every row over TLS")
    parser.add_argument("-n", "--rounds", type=int, default=5, help="timed runs of each program (default: 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the content (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"one round at scale {_QUICK_SCALE}")
    parser.add_argument("--no-count", dest="count", action="store_false", help="without requests and bytes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="merge the figures into this file")
    parser.add_argument("--write", action="store_true", help="merge the figures into the page, whatever was measured")
    options = parser.parse_args()
    if unknown := [*set(options.rows) - set(names), *set(options.programs or ()) - set(programs)]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if options.quick:
        options.rounds, options.scale = 1, _QUICK_SCALE
    return options


def _names(text: str) -> Sequence[str]:
    return text.split(",")


def _start_up(directory: Path, runs: int) -> Start:
    """Measure the time of `--help`, and of a Python that does nothing."""
    costs: dict[str, list[float]] = {"help": [], "pass": []}
    commands = {"help": [our_command(), "--help"], "pass": [sys.executable, "-c", "pass"]}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(measure(command, clean_environment(directory)).seconds)
    return Start(tuple(costs["help"]), tuple(costs["pass"]))


if __name__ == "__main__":
    sys.exit(main())
