"""Two daemons over one PostgreSQL; one is killed while its copies run, and the other takes them over."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from stress.callers import Door, Senders
from stress.daemon import LOGIN, Daemon, write_native_file
from stress.report import Report, Say
from stress.stock import Stock, copied_twice
from stress.verdict import judge
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.postgres import Postgres

TAKEOVER_SECONDS: Final = 30.0
"""The fleet's promise."""

_PATIENCE_SECONDS: Final = 300.0
_SENDERS: Final = 8
_POLL_SECONDS: Final = 0.05
_LAST_WORDS_SECONDS: Final = 1.0
"""The database may still execute the last commands of the dead daemon; no daemon counts as dead this soon."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """*hooks* for distinct images, and a source that needs *delay* seconds for each response."""

    hooks: int
    delay: float


@dataclass(frozen=True, slots=True)
class Death:
    """The state after a daemon's death: the time (by the database's clock), and the *jobs* that it was running."""

    at: datetime
    jobs: Sequence[int]


class Ledger:
    """The queue as the database has it, since no process knows what another one does."""

    def __init__(self, url: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def workers(self) -> list[int]:
        """Return all registered workers."""
        return [row[0] for row in self._rows("SELECT id FROM procrastinate_workers")]

    def running(self, workers: Sequence[int]) -> list[int]:
        """Return the jobs that *workers* are running."""
        statement = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = ANY(%s)"
        return [row[0] for row in self._rows(statement, list(workers))]

    def now(self) -> datetime:
        """Return the time at the database."""
        return self._rows("SELECT clock_timestamp()")[0][0]

    def started_again(self, death: Death) -> list[float]:
        """Return, for each of its jobs that another worker started, the seconds until then.

        That is the job itself, or one for the same target that waited behind it: a repeated event.
        """
        statement = """
            SELECT extract(epoch FROM min(event.at) - %s)::float
              FROM procrastinate_jobs mine
              JOIN procrastinate_jobs heir ON heir.lock = mine.lock
              JOIN procrastinate_events event ON event.job_id = heir.id
             WHERE mine.id = ANY(%s) AND event.type = 'started' AND event.at > %s
             GROUP BY mine.id
        """
        return [row[0] for row in self._rows(statement, death.at, list(death.jobs), death.at)]

    def count_jobs(self) -> int:
        """Return the total number of jobs."""
        return self._rows("SELECT count(*) FROM procrastinate_jobs")[0][0]

    def _rows(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), arguments).fetchall()


def run(options: FleetOptions, directory: Path, say: Say) -> Report:
    """Run with a slow source in this process and a real registry as target, and return the report."""
    with ExitStack() as stack:
        stock = Stock(options.hooks)
        source = stack.enter_context(stock.at_a_slow_registry(options.delay))
        target = stack.enter_context(DockerRegistry())
        url = stack.enter_context(Postgres()).new_database()
        ports = [free_port(), free_port()]
        first, second = (
            stack.enter_context(
                Daemon(directory, port, write_native_file(directory, port, source, target.host, {"url": url}))
            )
            for port in ports
        )
        first.start_and_wait()
        ledger = Ledger(url)
        stack.callback(ledger.close)
        workers = ledger.workers()
        second.start_and_wait()
        door = Door(ports, "POST", LOGIN, lambda n: f"/hooks/stress?{stock.items[n].query(source)}")
        senders = Senders(door, _PATIENCE_SECONDS)
        began = time.monotonic()
        with senders.at_work(_SENDERS):
            senders.release(range(options.hooks))
            death = _kill_in_the_middle(first, ledger, workers, senders)
            say(f"killed with {len(death.jobs)} jobs running, {len(senders.acknowledged)} hooks acknowledged")
        quiet = second.wait_until_quiet(_PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        again, jobs = ledger.started_again(death), ledger.count_jobs()
        verdict = judge(second, stock, target.host, senders.acknowledged, quiet=quiet)
        twice = copied_twice(stock.puts(target.read_requests(), senders.acknowledged))
    figures = {
        "hooks": options.hooks,
        "acknowledged": len(senders.acknowledged),
        "jobs made": jobs,
        "jobs running at the kill": len(death.jobs),
        "of these started by the other": len(again),
        "takeover, first job, seconds": round(min(again, default=0.0), 2),
        "takeover, last job, seconds": round(max(again, default=0.0), 2),
        **verdict.figures,
        "copied twice": twice,
        "seconds in all": round(seconds, 1),
    }
    left = len(death.jobs) - len(again)
    broken = [
        *verdict.broken,
        *([f"not acknowledged: {len(senders.given_up)}"] if senders.given_up else []),
        *([f"{left} jobs of the dead were never started again"] if left else []),
        *([] if max(again, default=0.0) <= TAKEOVER_SECONDS else [f"a takeover took more than {TAKEOVER_SECONDS} s"]),
    ]
    return Report("one of two daemons killed, on PostgreSQL", figures, broken)


def _kill_in_the_middle(daemon: Daemon, ledger: Ledger, workers: Sequence[int], senders: Senders) -> Death:
    """Kill *daemon* once half of the hooks are acknowledged and it runs jobs."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while senders.share < 0.5 or not ledger.running(workers):  # noqa: PLR2004 - half
        if time.monotonic() > deadline:
            raise SystemExit("the daemon to kill never ran a job")
        time.sleep(_POLL_SECONDS)
    at = ledger.now()
    daemon.kill()
    time.sleep(_LAST_WORDS_SECONDS)
    return Death(at, ledger.running(workers))
