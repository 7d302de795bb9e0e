"""Runs a workload: both programs in turns, on the same registries, each with its own home."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench_figures import Measured, Run, Statistics
from bench_site import Ground, PrivateCa, Site
from lab import clean_environment, measure, refuses
from seeding import Seeder
from support.slow_line import FAR, RelayLine
from workloads import Ends, Job, Workload

_LONG_SECONDS = 20.0
_FLOOR_RUNS = 3
_CARGO = "cargo.json"

Program = Literal["ours", "theirs"]
Say = Callable[[str], None]


def run_workload(workload: Workload, directory: Path, pairs: int, say: Say) -> Measured:
    """Measure *workload* below *directory* with this many *pairs* of runs, or one if a run takes more than 20 s."""
    say(f"{workload.name}: {workload.about}")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        ca = PrivateCa.create(place) if workload.tls else None
        ground = Ground(place, ca, FAR if workload.far else None)
        [source] = stack.enter_context(ground.open(1))
        with Seeder(source.registry.host, None if ca is None else ca.trust()) as seeder:
            workload.seed(seeder)
        (place / _CARGO).write_text(json.dumps(seeder.cargo.as_json()), encoding="utf-8")
        bout = Bout(workload, ground, source)
        if ca is not None:
            bout.check_tls()
        if not workload.fresh:
            bout.fill(stack)
        return _measure_all(bout, pairs, say)


def _measure_all(bout: "Bout", pairs: int, say: Say) -> Measured:
    workload, ours, theirs = bout.workload, Statistics(), Statistics()
    for number in range(pairs):
        ours.runs.append(bout.run("ours"))
        theirs.runs.append(bout.run("theirs"))
        last = ours.runs[-1].cost.seconds, theirs.runs[-1].cost.seconds
        say(f"  pair {number + 1}: {last[0]:.2f} s, skopeo {last[1]:.2f} s")
        if max(last) > _LONG_SECONDS:
            break
    if not workload.far:
        ours.counted, theirs.counted = bout.counted("ours"), bout.counted("theirs")
    floor = Statistics([bout.floor() for _ in range(min(pairs, _FLOOR_RUNS))]) if workload.has_floor else None
    return Measured(
        workload.name,
        workload.about,
        workload.wanted,
        ours,
        theirs.times(workload.parts),
        sample=workload.sample,
        floor=floor,
    )


class Bout:
    """One *workload*, read from *source*, into targets on the same *ground*."""

    def __init__(self, workload: Workload, ground: Ground, source: Site) -> None:
        self.workload = workload
        self._ground = ground
        self._directory = ground.directory
        self._source = source
        self._kept: Sequence[Site] = ()
        self._tags: int | None = None

    def fill(self, stack: ExitStack) -> None:
        """Start permanent targets, and fill them by a run that is not measured."""
        self._kept = stack.enter_context(self._ground.open(self.workload.targets))
        measure(self.workload.ours(self._ends(self._source, self._kept)), self._environment(self._home("ours")))

    def check_tls(self) -> None:
        """Check that both programs reject these registries without their CA; `SystemExit` if one accepts them."""
        with self._ground.open(self.workload.targets) as targets:
            ends = self._ends(self._source, targets)
            for program in self._jobs:
                if not refuses(self._jobs[program](ends), clean_environment(self._new_home())):
                    raise SystemExit(f"{self.workload.name}: {program} does not verify certificates; not comparable")

    def run(self, program: Program) -> Run:
        """Run *program* once, into the permanent targets or into empty ones."""
        return self._run(program, self._ground, self._source, self._kept)

    def counted(self, program: Program) -> Run:
        """Run *program* once more with logged requests and counted bytes; its time is not used."""
        ground = replace(self._ground, line=RelayLine())
        with ExitStack() as stack:
            [source] = stack.enter_context(ground.beside([self._source]))
            kept = stack.enter_context(ground.beside(self._kept))
            return self._run(program, ground, source, kept)

    def floor(self) -> Run:
        """Run a bare client that requests the same manifests, or sends the same bytes, and does nothing else."""
        with ExitStack() as stack:
            targets = self._kept or stack.enter_context(self._ground.open(self.workload.targets))
            if self.workload.tags:
                program, arguments = "floor.py", ["bench/many", str(self.workload.tags)]
            else:
                program, arguments = "blob_floor.py", [str(self._directory / _CARGO)]
            hosts = [self._source.host, *(site.host for site in targets)]
            command = [sys.executable, "-I", "-S", str(Path(__file__).with_name(program)), *arguments, *hosts]
            run = self._measure(command, self._environment(self._directory), self._source, targets)
            self._check_tags("floor", sum(site.tags() for site in targets))
        return run

    @property
    def _jobs(self) -> Mapping[Program, Job]:
        return {"ours": self.workload.ours, "theirs": self.workload.theirs}

    def _run(self, program: Program, ground: Ground, source: Site, kept: Sequence[Site]) -> Run:
        with ExitStack() as stack:
            targets = kept or stack.enter_context(ground.open(self.workload.targets))
            home = self._home(program) if kept else self._new_home()
            command = self._jobs[program](self._ends(source, targets))
            run = self._measure(command, self._environment(home), source, targets)
            self._check_tags(program, sum(site.tags() for site in targets))
        return run

    def _measure(self, command: Sequence[str], environment: Mapping[str, str], source: Site, to: Sequence[Site]) -> Run:
        before, served = _counts(source, to), _served(source, to)
        cost = measure(command, environment)
        served = _served(source, to) - served
        asked_source, asked_target, moved_source, moved_target = (
            b - a for a, b in zip(before, _counts(source, to), strict=True)
        )
        return Run(cost, (asked_source, asked_target), (moved_source, moved_target), served)

    def _check_tags(self, program: str, tags: int) -> None:
        """`SystemExit` unless every run leaves the same tags: figures compare only for the same result."""
        self._tags = tags if self._tags is None else self._tags
        if tags != self._tags or not tags:
            raise SystemExit(f"{self.workload.name}: {program} left {tags} tags, before it were {self._tags}")

    def _ends(self, source: Site, targets: Sequence[Site]) -> Ends:
        return Ends(source.host, [site.host for site in targets], self._directory, self._ground.ca is not None)

    def _environment(self, home: Path) -> dict[str, str]:
        ca = self._ground.ca
        trusted = {} if ca is None else {"SSL_CERT_FILE": str(ca.authority)}
        return clean_environment(home) | trusted

    def _home(self, program: Program) -> Path:
        home = self._directory / program
        home.mkdir(exist_ok=True)
        return home

    def _new_home(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._directory))


def _counts(source: Site, targets: Sequence[Site]) -> tuple[int, int, int, int]:
    """Return requests and bytes so far, of the source and of all targets together."""
    asked, moved = sum(site.requests() for site in targets), sum(site.moved_bytes() for site in targets)
    return source.requests(), asked, source.moved_bytes(), moved


def _served(source: Site, targets: Sequence[Site]) -> float:
    """Return the CPU seconds of all registries so far."""
    return sum(site.cpu_seconds() for site in (source, *targets))
