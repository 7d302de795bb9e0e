"""Shared by demo and benchmark: running programs, and showing results."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.skopeo import skopeo_environment

_LONGEST_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run: wall and CPU seconds, and peak memory in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def our_command() -> str:
    """Return the path of the real command, installed next to this Python."""
    beside = Path(sys.executable).with_name("image-syncer")
    found = str(beside) if beside.is_file() else shutil.which("image-syncer")
    if found is None:
        raise SystemExit("the command image-syncer is not installed here; run script/demo or script/bench")
    return found


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run *command*, discard its output, and return its cost; `SystemExit` with the end of its output if it fails.

    Child processes count too: CPU seconds of all, and the peak memory of the largest.
    """
    with tempfile.TemporaryDirectory() as directory:
        result, output = Path(directory) / "cost.json", Path(directory) / "output"
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measured.py")), str(result)]
        with output.open("wb") as sink:
            subprocess.run(
                [*wrapper, *command],
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                timeout=_LONGEST_SECONDS,
                check=True,
            )
        cost = json.loads(result.read_text(encoding="utf-8"))
        if cost["code"] != 0:
            words = output.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(command)}: exit code {cost['code']}\n{words}")
    return Cost(cost["seconds"], cost["cpu_seconds"], cost["peak_kib"] * 1024)


def refuses(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether *command* ends with an error."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=dict(environment), timeout=120, check=False
    )
    return done.returncode != 0


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment without logins and proxies; only *home* is written to."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "LC_ALL", "TERM", "COLUMNS"}}
    return {**kept, **skopeo_environment(home)}


@contextmanager
def stop_on_signals() -> Generator[None]:
    """Let SIGTERM end the program as Ctrl-C does: orderly, with everything stopped and removed."""
    watched = (signal.SIGINT, signal.SIGTERM)

    def leave(number: int, _frame: object) -> None:
        for again in watched:  # Runners repeat the terminal's signal, which must not interrupt the cleanup.
            signal.signal(again, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
