"""The benchmark's figures as tables for the terminal and as docs/benchmarks.md."""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

import bench_figures
import growth
from bench_figures import Measured, Start
from bench_site import storage_parent
from growth import Grown
from support.slow_line import FAR

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured; *load* is what the machine had to do before we began."""

    rows: Sequence[Measured]
    grown: Sequence[Grown]
    start: Start
    load: float


def table(rows: Sequence[Measured]) -> Table:
    """Return the results for a terminal."""
    return _table(bench_figures.COLUMNS, (cells for row in rows for cells in row.rows()), names=2)


def growth_table(grown: Sequence[Grown]) -> Table:
    """Return what it costs as the work grows for a terminal."""
    return _table(growth.COLUMNS, (row.row() for row in grown), names=1)


def page(results: Results) -> str:
    """Return docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `script/bench`; do not edit.",
        "`script/bench --full` measures more: 10 000 tags beside skopeo, and every size from far away.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}. {_machine()}. Load average before the start: {results.load:.2f}.",
        "",
        *_markdown(bench_figures.COLUMNS, (cells for row in results.rows for cells in row.rows()), names=2),
        "",
        *(f"* {row.sentence()}" for row in results.rows),
        "",
        *_shortfalls(results.rows),
        "## As the work grows",
        "",
        *_markdown(growth.COLUMNS, (row.row() for row in results.grown), names=1),
        "",
        "Both registries of this table are servers of nothing but tags, in memory: filling real ones takes long.",
        "",
        f"{results.start.sentence()}.",
        "",
        "## How it is measured",
        "",
        *_method(),
    ]
    return "\n".join(lines) + "\n"


def _shortfalls(rows: Sequence[Measured]) -> Iterator[str]:
    found = [text for row in rows if (text := row.shortfall()) is not None]
    if found:
        yield from ("## Slower than wanted", "", *(f"* {text}" for text in found), "")


def _method() -> Iterator[str]:
    rate = f"{FAR.bytes_per_second / _MIB:.0f} MiB/s"
    where = "in memory (tmpfs)" if storage_parent() else "on disk"
    yield f"""\
* All registries are `docker-registry` on loopback, their storage {where}, their cache of blobs in memory, and share the
  machine with the program that is measured. Loopback has no latency, so it favours who asks one by one. In timed runs
  near by they log errors alone and keep no access log.
* `far-`: a relay before each registry adds {1000 * FAR.latency_seconds:.0f} ms to a round trip, half of it each way,
  and lets each connection have {rate} in each direction. A new connection costs a round trip.
* The two programs run in turns: five pairs, but one where a run takes more than 20 s. Figures are medians, the peak is
  the highest. Time and memory are those of the whole process, its start included.
* Registries CPU is the CPU time of all registries together, while the program ran.
* Each run into empty targets has a home directory of its own, so nothing is known from earlier runs; runs that find
  nothing to copy keep theirs.
* All runs into empty targets must leave the same number of tags, and with TLS both programs must refuse the registries
  without the CA; else nothing is written.
* Requests are counted in the access logs of the registries; bytes are what a relay carried in both directions: bodies,
  headers, and TLS where there is any. From far away that is the timed run itself; near, it is one more run, with
  registries that keep a log, over a relay that only counts, and whose time counts for nothing.
* Ratio is skopeo's wall time divided by that of the row. Extrapolated: skopeo did a part of the job, and its figures
  but the peak were multiplied.
* Floor: a bare client that does nothing but what no client can leave out. It sends the same HEAD requests, many on the
  way over four connections to each registry; or it reads each blob once, eight at a time, sends it to all targets,
  mounts it elsewhere and puts the manifests. It looks, hashes and remembers nothing. So it shows how much of the time
  is that of the registries, and what ratio would be left if our work cost nothing.
* skopeo knows one target, so with three it runs three times in a row."""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, names: int) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        shown.add_column(column, justify="left" if number < names else "right", no_wrap=True)
    for cells in rows:
        shown.add_row(*cells)
    return shown


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], *, names: int) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * names}{'---:|' * (len(columns) - names)}"
    yield from (f"| {' | '.join(cells)} |" for cells in rows)


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
