"""Runs a workload: both programs in turns, on the same registries, each with a home that knows nothing of the other."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from bench_figures import Measured, Run, Statistics
from bench_site import PrivateCa, Site, open_site, open_sites
from image_syncer.testing.slow_line import FAR, Line
from lab import clean_environment, measure, refuses
from seeding import Seeder
from workloads import Ends, Job, Workload

_LONG_SECONDS = 20.0
_FLOOR_RUNS = 3

Program = Literal["ours", "theirs"]
Say = Callable[[str], None]


def run_workload(workload: Workload, directory: Path, pairs: int, say: Say) -> Measured:
    """Measure *workload* below *directory*: so many *pairs* of runs, but one where a run takes more than 20 s."""
    say(f"{workload.name}: {workload.about}")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        ca = PrivateCa.create(place) if workload.tls else None
        [near] = stack.enter_context(open_sites(1, None, ca))
        with Seeder(near.registry.host, None if ca is None else ca.trust()) as seeder:
            workload.seed(seeder)
        line = FAR if workload.far else None
        bout = Bout(workload, place, open_site(stack, near.registry, line), line, ca)
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
    floor = Statistics([bout.floor() for _ in range(_FLOOR_RUNS)]) if workload.tags else None
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
    """One *workload* in its *directory*, read from *source*; near where *line* is None."""

    def __init__(
        self, workload: Workload, directory: Path, source: Site, line: Line | None, ca: PrivateCa | None
    ) -> None:
        self.workload = workload
        self._directory = directory
        self._source = source
        self._line = line
        self._ca = ca
        self._kept: Sequence[Site] = ()
        self._tags: int | None = None

    def fill(self, stack: ExitStack) -> None:
        """Open targets that stay, and let a run that is not measured copy everything into them."""
        self._kept = stack.enter_context(open_sites(self.workload.targets, self._line, self._ca))
        measure(self.workload.ours(self._ends(self._source, self._kept)), self._environment(self._home("ours")))

    def check_tls(self) -> None:
        """Let both programs refuse these registries where they do not know the CA; `SystemExit` if one does not."""
        with open_sites(self.workload.targets, self._line, self._ca) as targets:
            ends = self._ends(self._source, targets)
            for program in self._jobs:
                if not refuses(self._jobs[program](ends), clean_environment(self._new_home())):
                    raise SystemExit(f"{self.workload.name}: {program} does not verify certificates; not comparable")

    def run(self, program: Program) -> Run:
        """Run *program* once, into the targets that stay or into empty ones."""
        return self._run(program, self._source, self._kept, self._line)

    def counted(self, program: Program) -> Run:
        """Run *program* once more over lines that add nothing but count the bytes; its time counts for nothing."""
        with ExitStack() as stack:
            source = open_site(stack, self._source.registry, Line())
            kept = [open_site(stack, site.registry, Line()) for site in self._kept]
            return self._run(program, source, kept, Line())

    def floor(self) -> Run:
        """Ask for the same manifests by a client that does nothing else."""
        hosts = [self._source.host, *(site.host for site in self._kept)]
        program = str(Path(__file__).with_name("floor.py"))
        command = [sys.executable, "-I", "-S", program, "bench/many", str(self.workload.tags), *hosts]
        return self._measure(command, clean_environment(self._directory), self._source, self._kept)

    @property
    def _jobs(self) -> Mapping[Program, Job]:
        return {"ours": self.workload.ours, "theirs": self.workload.theirs}

    def _run(self, program: Program, source: Site, kept: Sequence[Site], line: Line | None) -> Run:
        with ExitStack() as stack:
            targets = kept or stack.enter_context(open_sites(self.workload.targets, line, self._ca))
            home = self._home(program) if kept else self._new_home()
            command = self._jobs[program](self._ends(source, targets))
            run = self._measure(command, self._environment(home), source, targets)
            self._check_tags(program, sum(site.tags() for site in targets))
        return run

    def _measure(self, command: Sequence[str], environment: Mapping[str, str], source: Site, to: Sequence[Site]) -> Run:
        before = _counts(source, to)
        cost = measure(command, environment)
        after = _counts(source, to)
        asked_source, asked_target, moved_source, moved_target = (b - a for a, b in zip(before, after, strict=True))
        return Run(cost, (asked_source, asked_target), (moved_source, moved_target))

    def _check_tags(self, program: Program, tags: int) -> None:
        """Figures compare only where the same was done: `SystemExit` unless every run leaves the same tags."""
        self._tags = tags if self._tags is None else self._tags
        if tags != self._tags or not tags:
            raise SystemExit(f"{self.workload.name}: {program} left {tags} tags, before it were {self._tags}")

    def _ends(self, source: Site, targets: Sequence[Site]) -> Ends:
        return Ends(source.host, [site.host for site in targets], self._directory, self._ca is not None)

    def _environment(self, home: Path) -> dict[str, str]:
        trusted = {} if self._ca is None else {"SSL_CERT_FILE": str(self._ca.authority)}
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
