"""One big blob over lines that cut every connection, also with kill -9: the traffic in relation to its size."""

import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from lab import clean_environment, our_command
from stress.cut_ends import (
    NAME,
    REAL,
    REPOSITORY,
    TAG,
    Running,
    big_image,
    in_one_piece,
    profile_names,
    registry,
    survives,
    takes_one_request,
)
from stress.puller import Incomplete, Puller
from stress.report import Figure, Report, Say
from support.cut_line import CutLine
from support.skopeo import Skopeo, SkopeoFailed

_MIB: Final = 1024 * 1024
_PATIENCE_SECONDS: Final = 900.0
_POLL_SECONDS: Final = 0.02
_EARLIEST: Final = 0.05
_LATEST: Final = 0.95

SURVIVING: Final = 1.10
"""The allowed traffic in relation to the blob's size if a session survives a cut."""

SURVIVING_KILLED: Final = 1.15
LOST_CUTS: Final = 1.1
"""If a session ends with its connection: this many times the cut length is added to the size."""

LOST_KILLED: Final = 2.0


@dataclass(frozen=True, slots=True)
class CutOptions:
    """An image of *size* MiB, or *profile_size* if one end is a FakeRegistry; lines that cut after *cut* MiB.

    Then *kills* more copies get kill -9 at moments drawn from *seed*, and run again. *only* lists the ends to test
    beside docker-registry, separated by commas; empty: all. If a blob must pass in one connection, it has three
    quarters of *cut*: a larger one could never arrive.
    """

    size: int
    profile_size: int
    cut: int
    kills: int
    seed: int
    only: str

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield source and target of every copy: real registries, and each profile on either side of one."""
        wanted = [name.strip() for name in self.only.split(",")] if self.only else [REAL, *profile_names()]
        for name in wanted:
            yield from [(REAL, REAL)] if name == REAL else [(name, REAL), (REAL, name)]

    def size_bytes(self, source: str, target: str) -> int:
        """Return the size of the blob between *source* and *target*."""
        if in_one_piece(source, target):
            return self.cut * _MIB * 3 // 4
        return (self.size if source == target == REAL else self.profile_size) * _MIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limit of traffic in relation to the size: of one run, and of a killed run and its repetition together.

    A source keeps its data, so reading has the limit of surviving sessions: each cut loses only the bytes in flight.
    What is sent again is read again, and each cut at either side loses bytes in flight.
    """

    once: float
    killed: float

    @property
    def read_once(self) -> float:
        """The limit of reading in one run."""
        return SURVIVING if self.once <= SURVIVING else self.once + SURVIVING - 1

    @classmethod
    def of(cls, target: str, size_bytes: int, cut_bytes: int) -> "Bounds":
        """Return the limits for copies to *target*."""
        if not survives(target):
            return cls(1 + LOST_CUTS * cut_bytes / size_bytes, LOST_KILLED)
        return cls(SURVIVING, LOST_KILLED if takes_one_request(target) else SURVIVING_KILLED)


@dataclass(frozen=True, slots=True)
class Sent:
    """The traffic of all runs of one copy in relation to the blob's size; *failure* is the reason if it failed."""

    read: float
    written: float
    cuts: int
    seconds: float
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A copy of the big image over lines, with the *home* of the runs; *direct* is the target itself.

    *storage* is the line to the source's storage host, if it has one.
    """

    source: CutLine
    storage: CutLine | None
    target: CutLine
    direct: str
    size_bytes: int
    home: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run."""
        arguments = [
            "copy",
            "--quiet",
            "--state",
            "state.db",
            f"{self.source.host}/{NAME}",
            f"{self.target.host}/{NAME}",
        ]
        with (self.home / "output").open("wb") as output:
            return subprocess.Popen(
                [our_command(), *arguments],
                cwd=self.home,
                env=clean_environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill_at(self, share: float) -> bool:
        """Start a run and kill it once *share* of the bytes went to the target; False if it ended before."""
        process = self.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self.target.carried().to_server >= share * self.size_bytes:
                process.kill()
                break
            time.sleep(_POLL_SECONDS)
        process.kill()
        return process.wait() < 0

    def finish(self) -> Sent:
        """Let a run end, check the target, and return the traffic of all runs."""
        began = time.monotonic()
        process = self.start()
        try:
            code = process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        seconds = time.monotonic() - began
        carried = [line.carried() for line in (self.target, self.source, self.storage) if line is not None]
        read, written = sum(each.to_client for each in carried[1:]), carried[0].to_server
        cuts, failure = sum(each.cuts for each in carried), self._failure(code)
        return Sent(read / self.size_bytes, written / self.size_bytes, cuts, seconds, failure)

    def _failure(self, code: int) -> str:
        if code != 0:
            words = (self.home / "output").read_text(encoding="utf-8", errors="replace").strip()
            return f"exit code {code}: {words.splitlines()[-1].strip() if words else 'without a word'}"
        return _damage(self.direct, str(big_image(self.size_bytes).digest), self.home)


def run(options: CutOptions, directory: Path, say: Say) -> Report:
    """Copy the image between all pairs, and return the figures of each."""
    began, rows, broken = time.monotonic(), list[dict[str, Figure]](), list[str]()
    rng = Random(options.seed)  # noqa: S311 - reproducible moments, no secrets
    for number, (source, target) in enumerate(options.pairs()):
        shares = [rng.uniform(_EARLIEST, _LATEST) for _ in range(options.kills)]
        pair = Pair(source, target, options.size_bytes(source, target), options.cut * _MIB)
        once, killed = pair.measure(shares, directory / str(number))
        rows.append(pair.row(once, killed))
        broken += pair.broken(once, killed)
        say("  ".join(str(figure) for figure in rows[-1].values()))
    figures: dict[str, Figure] = {
        "lines cut after, MiB": options.cut,
        "kills for each pair": options.kills,
        "seconds in all": round(time.monotonic() - began, 1),
    }
    return Report(f"one blob over lines that cut, seed {options.seed}", figures, broken, rows)


@dataclass(frozen=True, slots=True)
class Pair:
    """Copies from one registry to another."""

    source: str
    target: str
    size_bytes: int
    cut_bytes: int

    def measure(self, shares: Sequence[float], directory: Path) -> tuple[Sent, list[Sent]]:
        """Copy once, and once for each of *shares* with a kill at that share of the traffic."""
        with registry(self.source, self.size_bytes) as source:
            with self._way(source, directory / "once") as way:
                once = way.finish()
            killed: list[Sent] = []
            for number, share in enumerate(shares):
                with self._way(source, directory / f"killed-{number}") as way:
                    way.kill_at(share)
                    killed.append(way.finish())
        return once, killed

    def row(self, once: Sent, killed: Sequence[Sent]) -> dict[str, Figure]:
        """Return the row to print."""
        bounds = self.bounds
        return {
            "from": self.source,
            "to": self.target,
            "MiB": self.size_bytes // _MIB,
            "cuts": once.cuts,
            "read": round(once.read, 3),
            "sent": round(once.written, 3),
            "at most": round(bounds.once, 3),
            "killed: read": round(max((sent.read for sent in killed), default=0.0), 3),
            "killed: sent": round(max((sent.written for sent in killed), default=0.0), 3),
            "killed: at most": bounds.killed,
            "seconds": round(once.seconds, 1),
            "whole": "no" if any(sent.failure for sent in (once, *killed)) else "yes",
        }

    def broken(self, once: Sent, killed: Sequence[Sent]) -> Iterator[str]:
        """Yield the broken promises."""
        bounds, name = self.bounds, f"{self.source} to {self.target}"
        killings = ((", killed", bounds.killed, bounds.killed, each) for each in killed)
        for what, read, written, sent in (("", bounds.read_once, bounds.once, once), *killings):
            if sent.failure:
                yield f"{name}{what}: {sent.failure}"
            elif sent.read > read or sent.written > written:
                most = f"at most {read:.3f} and {written:.3f} times the size"
                yield f"{name}{what}: {sent.read:.3f} read, {sent.written:.3f} sent; {most}"

    @property
    def bounds(self) -> Bounds:
        """The limits of traffic."""
        return Bounds.of(self.target, self.size_bytes, self.cut_bytes)

    @contextmanager
    def _way(self, source: Running, home: Path) -> Generator[Way]:
        """Start an empty target, and a line to each server."""
        home.mkdir(parents=True)

        def line(host: str) -> CutLine:
            return stack.enter_context(CutLine(host, to_server_bytes=self.cut_bytes, to_client_bytes=self.cut_bytes))

        with ExitStack() as stack:
            target = stack.enter_context(registry(self.target))
            storage = line(source.storage) if source.storage else None
            if storage is not None:
                source.lead_to(storage.host)
            yield Way(line(source.host), storage, line(target.host), target.host, self.size_bytes, home)


def _damage(host: str, digest: str, home: Path) -> str:
    """Return what is wrong with the image at *host*, by our own pull and by skopeo's; empty if nothing is."""
    puller = Puller(host)
    try:
        found = puller.pull(REPOSITORY, TAG)
    except Incomplete as error:
        return f"not whole at the target: {error}"
    finally:
        puller.close()
    if found != digest:
        return f"the target has {found}, not {digest}"
    if Skopeo.is_installed():
        with TemporaryDirectory(dir=home) as pulled:
            try:
                Skopeo(home).pull(f"{host}/{NAME}", Path(pulled))
            except SkopeoFailed as error:
                return f"skopeo cannot pull it: {error}"
    return ""
