"""PostgreSQL stops in the middle of a stream of hooks: how the hooks respond, and whether accepted work is done."""

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stress.callers import Answer, Call, Door, SteadyStream
from stress.daemon import LOGIN, Daemon, write_native_file
from stress.report import Figure, Report, Say
from stress.stock import Stock
from stress.verdict import judge
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.postgres import Postgres

_PATIENCE_SECONDS: Final = 300.0
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class OutageOptions:
    """*rate* hooks a second, for *margin* seconds before an outage of *seconds*, and for as long after it."""

    rate: float
    seconds: float
    margin: float


def run(options: OutageOptions, directory: Path, say: Say) -> Report:
    """Run with two real registries; no caller repeats, so whatever arrives was acknowledged the first time."""
    count = round(options.rate * (options.seconds + 2 * options.margin))
    with ExitStack() as stack:
        source, target = (stack.enter_context(DockerRegistry()) for _ in range(2))
        stock = Stock(count)
        stock.push(source.host)
        say(f"{len(stock)} images are at the source")
        postgres = stack.enter_context(Postgres())
        port = free_port()
        url = {"url": postgres.new_database()}
        daemon = Daemon(directory, port, write_native_file(directory, port, source.host, target.host, url))
        stack.enter_context(daemon).start_and_wait()
        pid = daemon.pid
        door = Door([port], "POST", LOGIN, lambda n: f"/hooks/stress?{stock.items[n].query(source.host)}")
        calls: list[Call] = []
        with SteadyStream(door, options.rate, count).flowing(calls):
            time.sleep(options.margin)
            postgres.stop()
            say("PostgreSQL is stopped")
            time.sleep(options.seconds)
            postgres.start()
            back = time.monotonic()
            say("PostgreSQL is back")
            ready = _until_ready(daemon) - back
        quiet = daemon.wait_until_quiet(_PATIENCE_SECONDS)
        done = time.monotonic() - back
        survived = daemon.alive and daemon.pid == pid
        acknowledged = [call.number for call in calls if call.answer.acknowledged]
        verdict = judge(daemon, stock, target.host, acknowledged, quiet=quiet)
    wrong = [call for call in calls if not _as_promised(call.answer)]
    figures: dict[str, Figure] = {
        "outage, seconds": options.seconds,
        "calls": len(calls),
        "acknowledged (202)": len(acknowledged),
        "refused (503 with Retry-After)": sum(1 for call in calls if _refused(call.answer)),
        "anything else, by status (0: no answer)": _by_status(wrong),
        "slowest answer, seconds": round(max((call.seconds for call in calls), default=0.0), 2),
        **verdict.figures,
        "ready again after PostgreSQL, seconds": round(ready, 1),
        "all done after PostgreSQL is back, seconds": round(done, 1),
        "the daemon survived": "yes" if survived else "no",
    }
    broken = [
        *verdict.broken,
        *([] if survived else [f"the daemon ended: {daemon.last_words()}"]),
        *([f"callers got other answers than 202 and 503 with Retry-After: {_by_status(wrong)}"] if wrong else []),
    ]
    return Report(f"PostgreSQL stopped for {options.seconds:.0f} s", figures, broken)


def _until_ready(daemon: Daemon) -> float:
    """Return when the daemon reported again that it works, or when waiting for that ended."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and daemon.alive and not daemon.ready():
        time.sleep(0.1)
    return time.monotonic()


def _as_promised(answer: Answer) -> bool:
    return answer.acknowledged or _refused(answer)


def _refused(answer: Answer) -> bool:
    return answer.status == _UNAVAILABLE and answer.retry_after.isdecimal()


def _by_status(calls: Iterable[Call]) -> str:
    counted = Counter(call.answer.status for call in calls)
    return ", ".join(f"{status}: {times}" for status, times in sorted(counted.items())) or "0"
