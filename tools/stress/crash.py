"""A one-shot run is killed at random moments and repeated, while a client pulls everything that the target lists."""

import json
import math
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from image_syncer.testing.request_log import RequestLog
from lab import clean_environment, our_command
from stress.crash_set import Lot
from stress.puller import Incomplete, Puller
from stress.report import Report, Say
from support.docker_registry import DockerRegistry
from support.slow_line import RelayLine, SlowLine
from support.subprocess_helper import HelperProcess

_KILLS_PER_ROUND: Final = 10
_PATIENCE_SECONDS: Final = 300.0
_WRITING_BYTES: Final = 64 * 1024
_POLL_SECONDS: Final = 0.002
_START_KILLS: Final = 0.2
"""The share of kills by time, most of them during start and planning."""

_START_SECONDS: Final = 2.0
_SOON: Final = 0.25
"""Half of the other kills come early in the remaining bytes, so that a round has many of them."""

_TARGET_LINE: Final = RelayLine(latency_seconds=0.004, bytes_per_second=20 * 1024 * 1024)
"""Makes runs long enough to be killed in their middle."""


@dataclass(frozen=True, slots=True)
class CrashOptions:
    """*kills* at moments drawn from *seed*, of runs over *images* images."""

    kills: int
    images: int
    seed: int


@dataclass(slots=True)
class Tally:
    """The results of all rounds together."""

    rounds: int = 0
    kills: int = 0
    while_writing: int = 0
    too_late: int = 0
    tags_pulled: int = 0
    incomplete: int = 0
    repeated: int = 0
    manifests_twice: int = 0
    blobs_twice: int = 0
    bytes_needed: int = 0
    bytes_sent: int = 0
    broken: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Site:
    """One round: an empty *target* behind a *line*, and the files of the runs in *directory*."""

    target: DockerRegistry
    line: SlowLine
    directory: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run."""
        files = ["--images", "images.yaml", "--auth", "auth.json", "--state", "state.db", "--report", "report.json"]
        with (self.directory / "output").open("ab") as output:
            return subprocess.Popen(
                [our_command(), "sync", "--quiet", *files],
                cwd=self.directory,
                env=clean_environment(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def last_words(self) -> str:
        """Return the end of the runs' output."""
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")[-1500:]


def run(options: CrashOptions, directory: Path, say: Say) -> Report:
    """Kill that often, in rounds that begin with an empty target, and return the report."""
    began, rng, tally = time.monotonic(), Random(options.seed), Tally()  # noqa: S311 - moments, not secrets
    lot = Lot.of(options.images)
    with DockerRegistry() as source:
        lot.push(source.host)
        say(f"{len(lot.tags)} tags of {options.images} images are at the source, {lot.size_bytes / 2**20:.0f} MiB")
        with _site(directory / "unbroken", lot, source) as site:
            seconds = _finish(site, lot, tally)
            say(f"an undisturbed run takes {seconds:.1f} s")
        while tally.kills < options.kills and not tally.broken:
            tally.rounds += 1
            with _site(directory / f"round-{tally.rounds}", lot, source) as site:
                most = min(_KILLS_PER_ROUND, options.kills - tally.kills)
                _round(site, lot, tally, rng, most)
            say(f"{tally.kills} kills, {tally.while_writing} while it wrote; {tally.tags_pulled} tags pulled meanwhile")
    figures = {
        "tags, images": f"{len(lot.tags)}, {options.images}",
        "rounds, each from an empty target": tally.rounds,
        "kills (SIGKILL)": tally.kills,
        "of these while it wrote to the target": tally.while_writing,
        "not counted: the run had ended before": tally.too_late,
        "tags pulled meanwhile": tally.tags_pulled,
        "of these incomplete": tally.incomplete,
        "requests of the puller that the registry failed at first": tally.repeated,
        "manifests stored twice": tally.manifests_twice,
        "blobs stored twice": tally.blobs_twice,
        "bytes to the targets / bytes needed": round(tally.bytes_sent / tally.bytes_needed, 3),
        "a run without kills, seconds": round(seconds, 1),
        "seconds in all": round(time.monotonic() - began, 1),
    }
    if not tally.tags_pulled:
        tally.broken.append("nothing was pulled meanwhile, so the test proves nothing")
    return Report(f"one-shot runs killed, seed {options.seed}", figures, tally.broken)


@contextmanager
def _site(directory: Path, lot: Lot, source: DockerRegistry) -> Generator[Site]:
    directory.mkdir()
    (directory / "auth.json").write_text("{}", encoding="utf-8")
    with DockerRegistry() as target, SlowLine(target.host, _TARGET_LINE) as line:
        lot.write_rules(directory / "images.yaml", source.host, line.host)
        yield Site(target, line, directory)


def _round(site: Site, lot: Lot, tally: Tally, rng: Random, kills: int) -> None:
    """Kill *kills* runs, or until one ends before its kill; let the last one end, and check everything."""
    with ExitStack() as stack:
        puller = HelperProcess(Path(__file__).with_name("puller.py"), [site.target.host])
        stack.callback(puller.stop)
        before, last = tally.too_late, tally.kills + kills
        while tally.kills < last and tally.too_late == before:
            _kill(site, tally, Moment.drawn(rng, max(0, lot.size_bytes - site.line.carried().to_server)))
        _finish(site, lot, tally)
        pulled = puller.ask()
    log = site.target.read_requests()
    tally.tags_pulled += pulled["tags"]
    tally.incomplete += pulled["incomplete"]
    tally.repeated += pulled["repeated"]
    tally.broken += [f"listed, and could not be pulled: {complaint}" for complaint in pulled["complaints"]]
    tally.manifests_twice += _beyond_one(
        f"{entry.path}" for entry in log.only(method="PUT", kind="manifest", status=201)
    )
    tally.blobs_twice += _beyond_one(uploaded_digests(log))
    tally.bytes_needed += lot.size_bytes
    tally.bytes_sent += site.line.carried().to_server


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment of a kill: after *seconds*, or *later* seconds after this many *bytes* went to the target."""

    seconds: float
    bytes: float
    later: float

    @classmethod
    def drawn(cls, rng: Random, left_bytes: int) -> "Moment":
        """Draw a moment for a run with *left_bytes* to send."""
        if rng.random() < _START_KILLS:
            return cls(rng.uniform(0, _START_SECONDS), math.inf, 0)
        share = rng.uniform(0, rng.choice((_SOON, 1)))
        return cls(_PATIENCE_SECONDS, left_bytes * share, rng.uniform(0, 10 * _POLL_SECONDS))


def _kill(site: Site, tally: Tally, moment: Moment) -> None:
    """Start a run and kill it at *moment*, unless it ends before."""
    written, sent = _writes(site.target.read_requests()), site.line.carried().to_server
    process = site.start()
    deadline = time.monotonic() + moment.seconds
    while process.poll() is None and time.monotonic() < deadline:
        if site.line.carried().to_server - sent >= moment.bytes:
            time.sleep(moment.later)
            break
        time.sleep(_POLL_SECONDS)
    process.kill()
    code = process.wait()
    if code == -signal.SIGKILL:
        tally.kills += 1
        writing = (
            site.line.carried().to_server - sent >= _WRITING_BYTES or _writes(site.target.read_requests()) > written
        )
        tally.while_writing += writing
    else:
        tally.too_late += 1
        tally.broken += [f"a run failed (exit code {code}): {site.last_words()}"] if code else []


def _finish(site: Site, lot: Lot, tally: Tally) -> float:
    """Let a run end, compare the target with the expected content, and return the duration."""
    began = time.monotonic()
    process = site.start()
    try:
        code = process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    seconds = time.monotonic() - began
    if code != 0:
        tally.broken.append(f"the last run of a round failed (exit code {code}): {site.last_words()}")
        return seconds
    summary = json.loads((site.directory / "report.json").read_text(encoding="utf-8"))["summary"]
    if summary["copied"] + summary["unchanged"] != len(lot.tags):
        tally.broken.append(f"the last run reports {summary}, of {len(lot.tags)} tags")
    tally.broken += _wrong(site.target.host, lot)
    return seconds


def _wrong(host: str, lot: Lot) -> Iterator[str]:
    """Yield everything at *host* that is incomplete, or differs from the source."""
    puller = Puller(host)
    for repository, tag, digest in lot.wanted():
        try:
            found = puller.pull(repository, tag)
        except Incomplete as error:
            yield f"not in place after the last run: {repository}:{tag}: {error}"
        else:
            if found != digest:
                yield f"not in place after the last run: {repository}:{tag} is {found}, not {digest}"
    puller.close()


def _writes(log: RequestLog) -> int:
    return sum(entry.method in {"POST", "PATCH", "PUT"} for entry in log)


def uploaded_digests(log: RequestLog) -> Iterator[str]:
    """Yield the digest of each upload of a blob that completed, by PUT or by one POST; mounts send no content."""
    for entry in log.only(kind="upload", status=201):
        digest = dict(entry.query).get("digest")
        if entry.method in {"PUT", "POST"} and digest is not None:
            yield digest


def _beyond_one(names: Iterator[str]) -> int:
    return sum(times - 1 for times in Counter(names).values())
