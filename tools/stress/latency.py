"""The response times of hooks while copies run, and the daemon's CPU use while idle."""

import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stress.callers import Call, Door, SteadyStream
from stress.daemon import LOGIN, Daemon, write_native_file
from stress.report import Figure, Report, Say, percentile
from stress.stock import Stock
from stress.verdict import judge
from support.docker_registry import DockerRegistry
from support.ports import free_port

_PATIENCE_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """*rate* hooks a second for *seconds*, over this many distinct *images*; then *idle* seconds without any."""

    rate: float
    seconds: float
    images: int
    idle: float


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's CPU seconds so far, and its memory and peak memory in bytes."""

    cpu_seconds: float
    resident_bytes: int
    peak_bytes: int

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Read it from /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])  # utime and stime, 14 and 15 of proc(5)
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        )
        held, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return cls(ticks / os.sysconf("SC_CLK_TCK"), held, peak)


def run(options: LatencyOptions, directory: Path, say: Say) -> Report:
    """Run on SQLite with two real registries; the first round of images is copied, later ones are compared."""
    with ExitStack() as stack:
        source, target = (stack.enter_context(DockerRegistry()) for _ in range(2))
        stock = Stock(options.images)
        stock.push(source.host)
        say(f"{len(stock)} images are at the source")
        port = free_port()
        arguments = write_native_file(directory, port, source.host, target.host, {"path": f"{directory}/state"})
        daemon = stack.enter_context(Daemon(directory, port, arguments))
        daemon.start_and_wait()
        began, before = time.monotonic(), Usage.of(daemon.pid)
        door = Door([port], "POST", LOGIN, lambda n: f"/hooks/stress?{stock.items[n % len(stock)].query(source.host)}")
        calls: list[Call] = []
        with SteadyStream(door, options.rate, round(options.rate * options.seconds)).flowing(calls):
            pass
        load_seconds = time.monotonic() - began
        after = Usage.of(daemon.pid)
        say(f"{len(calls)} calls were made in {load_seconds:.0f} s")
        quiet = daemon.wait_until_quiet(_PATIENCE_SECONDS)
        done = time.monotonic() - began - load_seconds
        say("no work is left; measuring the idle daemon")
        idle = _idle(daemon.pid, options.idle)
        resting = Usage.of(daemon.pid)
        acknowledged = {call.number % len(stock) for call in calls if call.answer.acknowledged}
        verdict = judge(daemon, stock, target.host, acknowledged, quiet=quiet)
    figures = {
        "hooks per second": options.rate,
        **_latencies(calls),
        "seconds until all done, after the last call": round(done, 1),
        **verdict.figures,
        "CPU under load, % of a core": round(100 * (after.cpu_seconds - before.cpu_seconds) / load_seconds, 1),
        "CPU when idle, % of a core": round(idle, 2),
        "resident when idle, MiB": round(resting.resident_bytes / 2**20, 1),
        "resident at most, MiB": round(resting.peak_bytes / 2**20, 1),
    }
    return Report("latency of hooks while copies run", figures, verdict.broken)


def _latencies(calls: list[Call]) -> dict[str, Figure]:
    taken = sorted(call.seconds * 1000 for call in calls if call.answer.acknowledged)
    others = Counter(call.answer.status for call in calls if not call.answer.acknowledged)
    return {
        "calls": len(calls),
        "acknowledged": len(taken),
        "others, by status (0: no answer)": ", ".join(f"{status}: {times}" for status, times in others.items()) or "0",
        **{f"p{percent}, ms": round(percentile(taken, percent), 1) for percent in (50, 95, 99)},
        "max, ms": round(taken[-1], 1) if taken else 0.0,
    }


def _idle(pid: int, seconds: float) -> float:
    """Return the CPU use of *pid* over *seconds*, in percent of a core."""
    began, before = time.monotonic(), Usage.of(pid)
    time.sleep(seconds)
    return 100 * (Usage.of(pid).cpu_seconds - before.cpu_seconds) / (time.monotonic() - began)
