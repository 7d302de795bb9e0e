"""The command line of `script/stress`."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from image_syncer.testing.postgres import Postgres
from image_syncer.testing.servers import DockerRegistry
from lab import stop_on_signals
from stress import fleet, kill, latency, outage
from stress.report import Report, Say

_WITH_POSTGRES = frozenset({"fleet", "outage"})
_LARGEST = 100_000


def main() -> int:
    """Run what was asked for and show its figures; 1 where a promise was broken, 2 where a program is missing."""
    arguments = _parser().parse_args()
    missing = _missing(arguments.command)
    if missing:
        print(f"not installed: {' and '.join(missing)}; there is nothing to try it with", file=sys.stderr)
        return 2
    # Who is killed hangs up in the middle of an answer: aiohttp, under the registry of the test kit, would tell of it.
    logging.getLogger("aiohttp.server").addHandler(logging.NullHandler())
    console, progress = (Console(stderr=error, highlight=False, soft_wrap=True) for error in (False, True))
    with stop_on_signals(), tempfile.TemporaryDirectory(prefix="image-syncer-stress-") as directory:
        report = _run(arguments, Path(directory), lambda text: progress.print(text, style="dim"))
    if arguments.json:
        print(report.to_json())
    else:
        report.show(console)
    return report.exit_code


def _run(given: argparse.Namespace, directory: Path, say: Say) -> Report:
    match given.command:
        case "kill":
            return kill.run(kill.KillOptions(given.hooks, given.kills, given.life, given.seed), directory, say)
        case "fleet":
            return fleet.run(fleet.FleetOptions(given.hooks, given.delay), directory, say)
        case "latency":
            options = latency.LatencyOptions(given.rate, given.seconds, given.images, given.idle)
            return latency.run(options, directory, say)
        case _:
            return outage.run(outage.OutageOptions(given.rate, given.seconds, given.margin), directory, say)


def _missing(command: str) -> Sequence[str]:
    there = {"docker-registry": DockerRegistry.is_installed()}
    if command in _WITH_POSTGRES:
        there["postgresql"] = Postgres.is_installed()
    return [program for program, installed in there.items() if not installed]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/stress", description="Try what the daemon promises, on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    options = {
        "kill": ("kill -9 at random moments", {"hooks": 2000, "kills": 100, "life": 2.0, "seed": 1}),
        "fleet": ("one of two daemons on PostgreSQL is killed", {"hooks": 400, "delay": 0.2}),
        "latency": ("a steady stream, then nothing", {"rate": 200.0, "seconds": 60.0, "images": 2000, "idle": 30.0}),
        "outage": ("PostgreSQL is stopped for a while", {"rate": 10.0, "seconds": 60.0, "margin": 10.0}),
    }
    for name, (about, defaults) in options.items():
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--json", action="store_true", help="print the figures as JSON")
        for option, default in defaults.items():
            kind = _whole if isinstance(default, int) else _positive
            command.add_argument(f"--{option}", type=kind, default=default, help=f"{default} unless given")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _LARGEST:
        raise argparse.ArgumentTypeError(f"from 1 to {_LARGEST}, not {text}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number <= _LARGEST:
        raise argparse.ArgumentTypeError(f"more than 0 and at most {_LARGEST}, not {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
