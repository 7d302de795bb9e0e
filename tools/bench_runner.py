"""Runs a workload: all programs in turns, on the same registries, each run with its own home, each result checked."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final, Self

from bench_figures import Counted, Outcome, Run
from bench_site import Ground, PrivateCa, RegistryKind, Site
from contestants import FLOOR, Contestant, Ends
from image_syncer.structs import replace
from judge import Judge
from lab import Attempt, attempt, clean_environment
from seeding import Pushed, Seeder
from support.slow_line import FAR, RelayLine
from workloads import Workload

_SLOW_SECONDS: Final = 40.0
_LONGEST_SECONDS: Final = 300.0
_TLS_CHECK_SECONDS: Final = 30.0
_MIB: Final = 1024 * 1024
_CARGO: Final = "cargo.json"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant with the *path* of its program and its *version*."""

    contestant: Contestant
    path: str
    version: str

    def takes_part(self, workload: Workload) -> bool:
        """Whether the program can do the job in a sensible time."""
        each = self.contestant
        if workload.name in each.left_out or (each.tls_only and not workload.tls):
            return False
        return workload.few or not each.copies_singly


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run the rows: number of timed *rounds*, *scale* of the content, and whether requests are counted."""

    kind: RegistryKind
    rounds: int
    scale: float
    counted: bool
    call: str


class Race:
    """One *workload* between registries of one kind; a context manager that removes everything at the end."""

    def __init__(self, workload: Workload, settings: Settings, directory: Path, say: Say) -> None:
        self._workload = workload
        self._settings = settings
        self._parent = directory
        self._say = say
        self._stack = ExitStack()
        self._directory = Path()
        self._kept: Sequence[Site] = ()
        self._pushed: Mapping[str, Pushed] = {}
        self._homes: dict[str, Path] = {}

    def __enter__(self) -> Self:
        workload = self._workload
        with ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._parent)))
            self._ca = PrivateCa.create(self._directory) if workload.tls else None
            line = FAR if workload.far else None
            self._ground = Ground(self._directory, self._settings.kind, self._ca, line)
            [self._source] = stack.enter_context(self._ground.open(1))
            self._seed(self._source)
            if workload.up_to_date:
                self._kept = stack.enter_context(self._ground.open(workload.targets))
                for target in self._kept:
                    self._seed(target)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, entrants: Sequence[Entrant]) -> dict[str, Outcome]:
        """Return the outcome of each of *entrants*, and of the floor.

        The first round is a warm-up after which every byte at the targets is read. A program that fails or is slow is
        not run again.
        """
        outcomes = {each.contestant.name: Outcome(self._settings.call, each.version) for each in entrants}
        jobs: dict[str, Callable[[Ends], Sequence[str]]] = {
            each.contestant.name: lambda ends, each=each: each.contestant.job(each.path, ends) for each in entrants
        }
        if self._workload.has_floor:
            outcomes[FLOOR] = Outcome(self._settings.call, "")
            jobs[FLOOR] = self._floor
        if self._ca is not None:
            self._check_tls(entrants, outcomes)
        active = {name: job for name, job in jobs.items() if not outcomes[name].problem}
        for number in range(self._settings.rounds + 1):
            for name, job in list(active.items()):
                if not self._turn(name, job, outcomes[name], timed=number > 0):
                    del active[name]
        if self._settings.counted:
            for name, job in jobs.items():
                if outcomes[name].is_valid and name != FLOOR:
                    self._count(name, job, outcomes[name])
        return outcomes

    def _seed(self, site: Site) -> None:
        with Seeder(site.registry.host, None if self._ca is None else self._ca.trust()) as seeder:
            self._workload.seed(seeder, self._settings.scale)
        (self._directory / _CARGO).write_text(json.dumps(seeder.cargo.as_json()), encoding="utf-8")
        self._pushed = seeder.pushed

    def _turn(self, name: str, job: Callable[[Ends], Sequence[str]], outcome: Outcome, *, timed: bool) -> bool:
        """Run a program once and return whether it is to run again."""
        with ExitStack() as stack:
            targets = self._kept or stack.enter_context(self._ground.open(self._workload.targets))
            served = _served(self._source, targets)
            done = self._attempt(name, job, self._source, targets)
            served = _served(self._source, targets) - served
            outcome.problem = done.problem or self._wrong(targets, whole=not timed)
        slow = not timed and done.cost.seconds > _SLOW_SECONDS
        label = "timed" if timed else "warm-up"
        self._say(f"  {name:22} {label:8} {done.cost.seconds:7.2f} s {outcome.problem}")
        if done.problem:
            self._say(done.output.strip()[-600:])
        if (timed or slow) and not done.problem:
            cost = done.cost
            outcome.runs.append(Run(cost.seconds, cost.cpu_seconds, cost.peak_bytes / _MIB, served))
        return not (outcome.problem or slow)

    def _count(self, name: str, job: Callable[[Ends], Sequence[str]], outcome: Outcome) -> None:
        """Run a program once more, with logged requests and counted bytes; its time is not used."""
        ground = replace(self._ground, line=RelayLine(), logged=True)
        with ExitStack() as stack:
            [source] = stack.enter_context(ground.beside([self._source]))
            targets = stack.enter_context(
                ground.beside(self._kept) if self._kept else ground.open(self._workload.targets)
            )
            before = _counts([source]), _counts(targets)
            done = self._attempt(name, job, source, targets)
            after = _counts([source]), _counts(targets)
        if done.problem:
            self._say(f"  {name:22} not counted: {done.problem}")
            return
        (asked_source, moved_source), (asked_target, moved_target) = (
            (new[0] - old[0], new[1] - old[1]) for old, new in zip(before, after, strict=True)
        )
        outcome.counted = Counted((asked_source, asked_target), (moved_source, moved_target))

    def _attempt(
        self, name: str, job: Callable[[Ends], Sequence[str]], source: Site, targets: Sequence[Site]
    ) -> Attempt:
        home = self._home(name)
        authority = None if self._ca is None else self._ca.authority
        command = job(self._ends(home, source, targets, authority))
        trusted = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
        return attempt(command, clean_environment(home) | trusted, _LONGEST_SECONDS)

    def _check_tls(self, entrants: Sequence[Entrant], outcomes: Mapping[str, Outcome]) -> None:
        """Leave out every program that accepts these registries without their CA: it would do less work."""
        for each in entrants:
            with self._ground.open(self._workload.targets) as targets:
                home = Path(tempfile.mkdtemp(dir=self._directory))
                command = each.contestant.job(each.path, self._ends(home, self._source, targets, None))
                attempt(command, clean_environment(home), _TLS_CHECK_SECONDS)
                if not self._wrong(targets, whole=False):  # Some exit with 0 although they have copied nothing.
                    outcomes[each.contestant.name].problem = "unverified: it accepts an unknown certificate"

    def _wrong(self, targets: Sequence[Site], *, whole: bool) -> str:
        """Return what is wrong at the targets, empty if nothing is; with *whole* every byte is read."""
        tags = content = 0
        for target in targets:
            with closing(Judge(target.registry.host, None if self._ca is None else self._ca.trust())) as judge:
                try:
                    tags += judge.wrong_tags(self._pushed)
                    content += judge.wrong_content(self._pushed) if whole and not self._kept else 0
                except (OSError, HTTPException) as error:
                    return f"unreadable: {error!r}"
        problems = [f"{count} {kind}" for count, kind in ((tags, "tags"), (content, "manifests or blobs")) if count]
        return f"wrong: {' and '.join(problems)} missing or different" if problems else ""

    def _floor(self, ends: Ends) -> Sequence[str]:
        """Return the command of a bare client that requests or sends the same and does nothing else."""
        if self._workload.up_to_date:
            count = max(len(content.tags) for content in self._pushed.values())
            program, arguments = "floor.py", [",".join(self._pushed), str(count)]
        else:
            program, arguments = "blob_floor.py", [str(self._directory / _CARGO)]
        path = str(Path(__file__).with_name(program))
        return [sys.executable, "-I", "-S", path, *arguments, ends.source, *ends.targets]

    def _ends(self, home: Path, source: Site, targets: Sequence[Site], authority: Path | None) -> Ends:
        tags = {repository: list(content.tags) for repository, content in self._pushed.items()}
        return Ends(source.host, [site.host for site in targets], tags, home, self._workload.tls, authority)

    def _home(self, name: str) -> Path:
        """Return a new home for a run into empty targets, else the one that the program has kept."""
        if not self._kept or name not in self._homes:
            self._homes[name] = Path(tempfile.mkdtemp(dir=self._directory))
        return self._homes[name]


def _counts(sites: Sequence[Site]) -> tuple[int, int]:
    """Return requests and bytes so far, of all *sites* together."""
    return sum(site.requests() for site in sites), sum(site.moved_bytes() for site in sites)


def _served(source: Site, targets: Sequence[Site]) -> float:
    """Return the CPU seconds of all registries so far."""
    return sum(site.cpu_seconds() for site in (source, *targets))
