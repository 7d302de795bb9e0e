"""Syncs that repeat for a long time despite faults, while content changes: the processes' resources must not grow."""

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stress.callers import Caller
from stress.daemon import LOGIN, PASSWORD, USER, Daemon
from stress.fakes import fake_registry
from stress.puller import Incomplete, Puller
from stress.report import Figure, Report, Say
from stress.soak_content import Content, rules
from stress.soak_watch import SHORTEST_SECONDS, Held, Watch
from support.cut_line import CutLine
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.subprocess_helper import HelperProcess

_MIB: Final = 1024 * 1024
_CUT_BYTES: Final = 8 * _MIB
_PUSH_SECONDS: Final = 0.4
_SAMPLE_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 180.0
_OUTCOMES: Final = ("copied", "failed")


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """For *seconds*; *faults* is the share of requests to the fake registries that get a fault."""

    seconds: float
    faults: float
    seed: int


@dataclass(frozen=True, slots=True)
class Site:
    """Two sources and two targets, each a real registry behind a line that cuts and a fake with faults."""

    sources: Mapping[str, str]
    """Hosts by name."""

    targets: Sequence[str]
    content: Content
    fakes: Sequence[HelperProcess]
    direct: Mapping[str, str]
    """The host of a registry without its line."""

    @property
    def hosts(self) -> list[str]:
        """All registries."""
        return [*self.sources.values(), *self.targets]

    def calm(self) -> int:
        """End the faults; return how many there were."""
        return sum(fake.ask("calm")["faults"] for fake in self.fakes)


def run(options: SoakOptions, directory: Path, say: Say) -> Report:
    """Soak the daemon and a program that uses the Python API, side by side, and return their resources."""
    with ExitStack() as stack:
        site = stack.enter_context(_site(options))
        with site.content.changing(_PUSH_SECONDS):
            subjects = stack.enter_context(_subjects(site, directory))
            watch = Watch()
            say(f"soaking for {options.seconds:.0f} s")
            watch.watch(subjects.look, options.seconds, _SAMPLE_SECONDS)
        faults = site.calm()
        say(f"{site.content.pushes} pushes, {faults} faults; waiting until the targets match")
        began = time.monotonic()
        behind = _until_in_step(site)
        seconds = time.monotonic() - began
        _, done = subjects.look()
        reasons = subjects.reasons()
    figures: dict[str, Figure] = {
        "seconds": options.seconds,
        "images pushed to the sources": site.content.pushes,
        "faults": faults,
        **done,
        "seconds until all was in step, without faults": round(seconds, 1),
        "not in step": len(behind),
        "grown": ", ".join(watch.growth())
        or ("nothing" if options.seconds >= SHORTEST_SECONDS else "too short to say"),
    }
    for number, reason in enumerate(reasons, 1):
        figures[f"failure {number}"] = reason
    broken = [*behind[:5], *watch.growth()]
    return Report(f"repeated syncs over faults, seed {options.seed}", figures, broken, watch.rows())


class Subjects:
    """The tested processes."""

    def __init__(self, daemon: Daemon, runs: HelperProcess) -> None:
        self._daemon = daemon
        self._runs = runs

    def look(self) -> tuple[Mapping[str, Held], Mapping[str, int]]:
        """Return the resources and the work of each; `SystemExit` if one of them has ended."""
        if not self._daemon.alive:
            raise SystemExit(f"the daemon has ended: {self._daemon.last_words()}")
        said = self._runs.ask()
        held = {"daemon": Held.of(self._daemon.pid), "runs": Held.of(self._runs.pid, said["tasks"])}
        copies = self._copies()
        done = {
            **{f"daemon {outcome}": copies.get(outcome, 0) for outcome in _OUTCOMES},
            "runs syncs": said["syncs"],
            **{f"runs {outcome}": said[outcome] for outcome in _OUTCOMES},
        }
        return held, done

    def reasons(self) -> list[str]:
        """Return the reasons of failed images, the most frequent first."""
        said: list[tuple[str, int]] = self._runs.ask()["reasons"]
        return [*(f"{times} x {reason}" for reason, times in said), *self._daemon.dead_letters()[:3]]

    def _copies(self) -> dict[str, int]:
        """Return the daemon's copies by outcome, from its metrics."""
        caller = Caller(self._daemon.port, LOGIN)
        answer = caller.ask("GET", "/metrics")
        caller.close()
        if not answer.status:
            raise SystemExit(f"the daemon does not respond: {self._daemon.last_words()}")
        found: dict[str, int] = {}
        for line in answer.body.decode().splitlines():
            if line.startswith("image_syncer_copies_total{"):
                name, _, value = line.rpartition(" ")
                found[name.partition('outcome="')[2].partition('"')[0]] = round(float(value))
        return found


@contextmanager
def _site(options: SoakOptions) -> Generator[Site]:
    with ExitStack() as stack:
        real = [stack.enter_context(DockerRegistry()) for _ in range(2)]
        lines = [
            stack.enter_context(CutLine(each.host, to_client_bytes=_CUT_BYTES, to_server_bytes=_CUT_BYTES))
            for each in real
        ]
        fakes = [
            stack.enter_context(
                fake_registry("oci", fault_share=options.faults, reading_only=reading, seed=options.seed)
            )
            for reading in (True, False)
        ]
        pushed = {"real": real[0].host, "fake": fakes[0].ready["host"]}
        direct = {lines[0].host: real[0].host, lines[1].host: real[1].host}
        yield Site(
            {"real": lines[0].host, "fake": fakes[0].ready["host"]},
            [lines[1].host, fakes[1].ready["host"]],
            Content(list(pushed.values()), options.seed),
            fakes,
            direct,
        )


@contextmanager
def _subjects(site: Site, directory: Path) -> Generator[Subjects]:
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(directory, free_port(), ["serve", "-c", "native.yaml"]))
        _write_native_file(directory / "native.yaml", daemon.port, site)
        lines = (f"{source}: [{', '.join(targets)}]\n" for source, targets in _rules(site, "runs").items())
        (directory / "images.yaml").write_text("".join(lines), encoding="utf-8")
        (directory / "auth.json").write_text("{}", encoding="utf-8")
        daemon.start_and_wait()
        program = Path(__file__).with_name("soak_runs.py")
        runs = HelperProcess(program, [str(directory / "images.yaml"), str(directory / "runs.db")], bare=False)
        stack.callback(runs.stop)
        yield Subjects(daemon, runs)


def _write_native_file(file: Path, port: int, site: Site) -> None:
    document: dict[str, Any] = {
        "version": 1,
        "rules": [
            {"name": f"rule{number}", "source": source, "targets": targets, "every": "10s"}
            for number, (source, targets) in enumerate(_rules(site, "daemon").items())
        ],
        "server": {"listen": f"127.0.0.1:{port}", "auth": {"basic": {"username": USER, "password": PASSWORD}}},
        "state": {"path": str(file.parent / "state")},
    }
    file.write_text(json.dumps(document), encoding="utf-8")


def _rules(site: Site, under: str) -> dict[str, list[str]]:
    return rules(site.sources, site.targets, under)


def _until_in_step(site: Site) -> list[str]:
    """Wait, for a bounded time, until the targets match the sources; return what is missing."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (behind := list(_behind(site))) and time.monotonic() < deadline:
        time.sleep(_SAMPLE_SECONDS)
    return behind


def _behind(site: Site) -> Iterator[str]:
    direct = {host: site.direct.get(host, host) for host in site.hosts}
    pullers = {host: Puller(direct[host]) for host in site.targets}
    for (pushed, repository, tag), digest in site.content.digests.items():
        name = next(name for name, host in site.sources.items() if direct[host] == pushed)
        for under in ("daemon", "runs"):
            for target, puller in pullers.items():
                try:
                    found = puller.pull(f"{under}/{name}/{repository}", tag)
                except Incomplete as error:
                    yield f"{under}: {name}/{repository}:{tag} is not whole at {target}: {error}"
                else:
                    if found != digest:
                        yield f"{under}: {name}/{repository}:{tag} at {target} is {found}, not {digest}"
    for puller in pullers.values():
        puller.close()
