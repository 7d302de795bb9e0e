"""The command line of `script/stress`."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lab import stop_on_signals
from stress import broker, crash, cut, fleet, frozen, kill, latency, outage, slow_target, soak, storm
from stress.report import Report, Say
from support.docker_registry import DockerRegistry
from support.postgres import Postgres
from support.rabbitmq import RabbitMQ

_LARGEST = 100_000


@dataclass(frozen=True, slots=True)
class Command:
    """One stress test: *run* performs it with options built from *defaults* or from the arguments."""

    about: str
    run: Callable[[Any, Path, Say], Report]
    options: Callable[..., Any]
    defaults: Mapping[str, int | float | str]
    postgres: bool = False
    registry: bool = True
    rabbitmq: bool = False


_COMMANDS: Mapping[str, Command] = {
    "kill": Command(
        "the daemon gets kill -9 at random moments",
        kill.run,
        kill.KillOptions,
        {"hooks": 2000, "kills": 100, "life": 2.0, "seed": 1},
    ),
    "fleet": Command(
        "one of two daemons on PostgreSQL is killed",
        fleet.run,
        fleet.FleetOptions,
        {"hooks": 400, "delay": 0.2},
        postgres=True,
    ),
    "frozen": Command(
        "a daemon is frozen or cut off from PostgreSQL while it copies (--way stop, held, cut or late)",
        frozen.run,
        frozen.FrozenOptions,
        {"tags": 12, "seconds": 25.0, "way": "stop"},
        postgres=True,
        registry=False,
    ),
    "slow-target": Command(
        "one of two targets answers after 3 s, or never",
        slow_target.run,
        slow_target.SlowTargetOptions,
        {"images": 200, "kib": 2},
        registry=False,
    ),
    "latency": Command(
        "a steady stream of hooks, then nothing",
        latency.run,
        latency.LatencyOptions,
        {"rate": 200.0, "seconds": 60.0, "images": 2000, "idle": 30.0},
    ),
    "outage": Command(
        "PostgreSQL is stopped for a while",
        outage.run,
        outage.OutageOptions,
        {"rate": 10.0, "seconds": 60.0, "margin": 10.0},
        postgres=True,
    ),
    "broker": Command(
        "RabbitMQ is restarted in the middle of a stream of messages",
        broker.run,
        broker.BrokerOptions,
        {"messages": 2000, "rate": 50.0, "restarts": 3, "down": 5.0},
        rabbitmq=True,
    ),
    "cut": Command(
        "one big blob over lines that cut every connection, also with kill -9",
        cut.run,
        cut.CutOptions,
        {"size": 1024, "profile_size": 1024, "cut": 64, "kills": 3, "seed": 1, "only": ""},
    ),
    "crash": Command(
        "a one-shot run gets kill -9 at random moments, while a client pulls from its target",
        crash.run,
        crash.CrashOptions,
        {"kills": 100, "images": 48, "seed": 1},
    ),
    "soak": Command(
        "long repeated syncs with faults and changing content",
        soak.run,
        soak.SoakOptions,
        {"seconds": 900.0, "faults": 0.05, "seed": 1},
    ),
    "storm": Command(
        "registries at both ends fail at random while a one-shot run copies",
        storm.run,
        storm.StormOptions,
        {"images": 200, "percent": 5.0, "runs": 20, "seed": 1},
        registry=False,
    ),
}


def main() -> int:
    """Run the chosen test and print its figures; 1 if a promise was broken, 2 if a program is missing."""
    arguments = _parser().parse_args()
    command = _COMMANDS[arguments.command]
    missing = _missing(command)
    if missing:
        print(f"not installed: {' and '.join(missing)}; this test needs it", file=sys.stderr)
        return 2
    # A killed client hangs up in the middle of a response, which aiohttp, under the test kit's registry, would log.
    logging.getLogger("aiohttp.server").addHandler(logging.NullHandler())
    console, progress = (Console(stderr=error, highlight=False, soft_wrap=True) for error in (False, True))
    with stop_on_signals(), tempfile.TemporaryDirectory(prefix="image-syncer-stress-") as directory:
        options = command.options(**{name: getattr(arguments, name) for name in command.defaults})
        report = command.run(options, Path(directory), lambda text: progress.print(text, style="dim"))
    if arguments.json:
        print(report.to_json())
    else:
        report.show(console)
    return report.exit_code


def _missing(command: Command) -> Sequence[str]:
    there = {"docker-registry": not command.registry or DockerRegistry.is_installed()}
    if command.postgres:
        there["postgresql"] = Postgres.is_installed()
    if command.rabbitmq:
        there["rabbitmq-server"] = RabbitMQ.is_installed()
    return [program for program, installed in there.items() if not installed]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/stress", description="Test promises under stress, on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        options = commands.add_parser(name, help=command.about, description=command.about)
        options.add_argument("--json", action="store_true", help="print the figures as JSON")
        for option, default in command.defaults.items():
            told = f"{default or 'all'} unless given"
            options.add_argument(
                f"--{option.replace('_', '-')}", type=_KINDS[type(default)], default=default, help=told
            )
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


_KINDS: Mapping[type, Callable[[str], int | float | str]] = {int: _whole, float: _positive, str: str}


if __name__ == "__main__":
    sys.exit(main())
