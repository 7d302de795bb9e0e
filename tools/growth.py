"""The cost of growing work: tags that are all up to date, and a plan for tags that are all missing.

Against registries that have only tags (tag_server.py), because a real one takes too long to fill.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab import Cost, clean_environment, measure, our_command
from support.subprocess_helper import HelperProcess

_MIB = 1024 * 1024
_REPOSITORY = "bench/many"
_RUNS = 3
_MANY_TAGS = 10_000  # From here on one run is enough, since it is long.
COLUMNS = ("job", "tags", "wall s", "CPU s", "CPU ms per tag", "peak MiB", "requests: source", "target", "floor s")


@dataclass(frozen=True, slots=True)
class Grown:
    """The median run of *job* over this many *tags*, requests at both sides, and the time of a bare client."""

    job: str
    tags: int
    cost: Cost
    asked: tuple[int, int]
    floor_seconds: float | None

    def row(self) -> Sequence[str]:
        """Return the cells, in the order of `COLUMNS`."""
        per_tag = f"{1000 * self.cost.cpu_seconds / self.tags:.2f}"
        floor = "" if self.floor_seconds is None else f"{self.floor_seconds:.2f}"
        cost = (f"{self.cost.seconds:.2f}", f"{self.cost.cpu_seconds:.2f}", per_tag)
        return (self.job, str(self.tags), *cost, f"{self.cost.peak_bytes / _MIB:.0f}", *map(str, self.asked), floor)


def grow(counts: Sequence[int], planned: int, directory: Path, say: Callable[[str], None]) -> Iterator[Grown]:
    """Yield a run over each of *counts* up-to-date tags, then the plan for *planned* tags; 0 for no plan."""
    for tags in counts:
        say(f"growth: {tags} tags, nothing to copy")
        yield _nothing_to_copy(tags, directory)
    if planned:
        say(f"plan: {planned} tags, all of them missing")
        yield _plan(planned, directory)


def _nothing_to_copy(tags: int, directory: Path) -> Grown:
    with _registry(tags, known=True) as source, _registry(tags, known=True) as target:
        hosts = _host(source), _host(target)
        program = str(Path(__file__).with_name("floor.py"))
        command = [sys.executable, "-I", "-S", program, _REPOSITORY, str(tags), *hosts]
        floor = median(measure(command, clean_environment(directory)).seconds for _ in range(_RUNS))
        cost, asked = _sync(source, target, directory, runs=1 if tags >= _MANY_TAGS else _RUNS)
        return Grown("unchanged", tags, cost, asked, floor)


def _plan(tags: int, directory: Path) -> Grown:
    with _registry(tags, known=True) as source, _registry(tags, known=False) as target:
        cost, asked = _sync(source, target, directory, "--dry-run")
        return Grown("plan (--dry-run)", tags, cost, asked, None)


def _sync(
    source: HelperProcess, target: HelperProcess, directory: Path, *options: str, runs: int = 1
) -> tuple[Cost, tuple[int, int]]:
    """Return the median run, and the average number of requests."""
    rules = directory / "growth.yaml"
    rules.write_text(f"{_host(source)}/{_REPOSITORY}: {_host(target)}/{_REPOSITORY}\n", encoding="utf-8")
    before = _asked(source, target)
    command = [our_command(), "sync", "--quiet", *options, "--images", str(rules)]
    costs = [measure(command, clean_environment(directory)) for _ in range(runs)]
    after = _asked(source, target)
    middle = sorted(costs, key=lambda cost: cost.seconds)[runs // 2]
    return middle, ((after[0] - before[0]) // runs, (after[1] - before[1]) // runs)


@contextmanager
def _registry(tags: int, *, known: bool) -> Generator[HelperProcess]:
    child = HelperProcess(Path(__file__).with_name("tag_server.py"), [str(tags), "1" if known else "0"])
    try:
        yield child
    finally:
        child.stop()


def _host(registry: HelperProcess) -> str:
    return f"127.0.0.1:{registry.ready['port']}"


def _asked(source: HelperProcess, target: HelperProcess) -> tuple[int, int]:
    return source.ask()["requests"], target.ask()["requests"]
