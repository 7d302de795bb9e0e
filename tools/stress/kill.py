"""The daemon is killed at random moments of a stream of hooks: everything that it acknowledged must arrive."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from stress.callers import Caller, Door, Senders
from stress.daemon import LOGIN, Daemon, write_fork_file
from stress.report import Report, Say
from stress.stock import Stock, copied_twice
from stress.verdict import judge
from support.docker_registry import DockerRegistry
from support.ports import free_port

_START_SHARE: Final = 0.25
"""The share of kills during a daemon's start, which takes longer than the rest of a life."""

_START_SECONDS: Final = 2.0
_LONGEST_START_SECONDS: Final = 60.0
_BETWEEN_STARTS_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 600.0
_SENDERS: Final = 8


@dataclass(frozen=True, slots=True)
class KillOptions:
    """*hooks* for distinct images and *kills*, within *life* seconds after a start, drawn from *seed*."""

    hooks: int
    kills: int
    life: float
    seed: int


def run(options: KillOptions, directory: Path, say: Say) -> Report:
    """Run on SQLite, with a fork's file and two real registries, and return the report."""
    began = time.monotonic()
    with ExitStack() as stack:
        source, target = (stack.enter_context(DockerRegistry()) for _ in range(2))
        stock = Stock(options.hooks)
        stock.push(source.host)
        say(f"{len(stock)} images are at the source ({time.monotonic() - began:.0f} s)")
        port = free_port()
        write_fork_file(directory, port, source.host, target.host)
        daemon = stack.enter_context(Daemon(directory, port))
        door = Door([port], "GET", LOGIN, lambda n: f"/images/sync/hook?{stock.items[n].query(source.host)}")
        senders = Senders(door, _PATIENCE_SECONDS)
        started = time.monotonic()
        with senders.at_work(_SENDERS):
            answering = _kill_often(daemon, senders, options, say)
            daemon.start_and_wait()
        heard = time.monotonic()
        _start_what_waits(port)
        quiet = daemon.wait_until_quiet(_PATIENCE_SECONDS)
        done = time.monotonic()
        verdict = judge(daemon, stock, target.host, senders.acknowledged, quiet=quiet)
        twice = copied_twice(stock.puts(target.read_requests(), senders.acknowledged))
    figures = {
        "hooks": options.hooks,
        "calls made": senders.calls,
        "acknowledged": len(senders.acknowledged),
        "kills (SIGKILL)": options.kills,
        "of these while it answered": answering,
        **verdict.figures,
        "copied twice": twice,
        "seconds of the stream": round(heard - started, 1),
        "seconds until all done, after the last start": round(done - heard, 1),
    }
    broken = [
        *verdict.broken,
        *([f"{len(senders.given_up)} hooks were never acknowledged"] if senders.given_up else []),
    ]
    return Report(f"kill -9, seed {options.seed}", figures, broken)


def _kill_often(daemon: Daemon, senders: Senders, options: KillOptions, say: Say) -> int:
    """Give each life of the daemon its share of the hooks and a kill; return how many ended while it responded."""
    rng = Random(options.seed)  # noqa: S311 - reproducible moments, no secrets
    answering = 0
    for number in range(options.kills):
        daemon.start()
        first, last = (part * options.hooks // options.kills for part in (number, number + 1))
        senders.release(range(first, last))
        if rng.random() < _START_SHARE:
            time.sleep(rng.uniform(0, _START_SECONDS))
        else:
            answering += _live(daemon, rng.uniform(0, options.life))
        daemon.kill()
        if number % 10 == 9:  # noqa: PLR2004 - every tenth
            say(f"{number + 1} kills, {len(senders.acknowledged)} hooks acknowledged")
    return answering


def _live(daemon: Daemon, seconds: float) -> bool:
    """Trigger pending events until *seconds* after the first response; return whether there was one."""
    caller = Caller(daemon.port, LOGIN)
    end, answered = time.monotonic() + _LONGEST_START_SECONDS, False
    try:
        while time.monotonic() < end:
            if caller.ask("GET", "/images/sync/do").acknowledged and not answered:
                end, answered = time.monotonic() + seconds, True
            time.sleep(max(0.0, min(_BETWEEN_STARTS_SECONDS, end - time.monotonic())))
    finally:
        caller.close()
    return answered


def _start_what_waits(port: int) -> None:
    caller = Caller(port, LOGIN)
    caller.ask("GET", "/images/sync/do")
    caller.close()
