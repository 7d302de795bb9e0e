"""Shared by demo and benchmark: running programs, and showing results."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a command: its exit code, its cost, and the end of its output. The code is None after a timeout."""

    code: int | None
    cost: Cost
    output: str

    @property
    def problem(self) -> str:
        """What went wrong, empty if nothing did."""
        if self.code is None:
            return "timeout"
        return f"exit code {self.code}" if self.code else ""


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run *command* and return its cost; `SystemExit` with the end of its output if it fails."""
    done = attempt(command, environment)
    if done.problem:
        raise SystemExit(f"{' '.join(command)}: {done.problem}\n{done.output}")
    return done.cost


def attempt(command: Sequence[str], environment: Mapping[str, str], longest: float = _LONGEST_SECONDS) -> Attempt:
    """Run *command* for at most *longest* seconds; after that all its processes are killed.

    Child processes count too: CPU seconds and memory are those of the whole tree.
    """
    with tempfile.TemporaryDirectory() as directory:
        result, output = Path(directory) / "cost.json", Path(directory) / "output"
        wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measured.py")), str(result)]
        with output.open("wb") as sink:
            child = subprocess.Popen(
                [*wrapper, *command],
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
            )
            with _killed_at_the_end(child), suppress(subprocess.TimeoutExpired):
                child.wait(longest)
        words = output.read_text(encoding="utf-8", errors="replace")[-2000:]
        if not result.is_file():
            return Attempt(None, Cost(longest, 0.0, 0), words)
        cost = json.loads(result.read_text(encoding="utf-8"))
    return Attempt(cost["code"], Cost(cost["seconds"], cost["cpu_seconds"], cost["peak_kib"] * 1024), words)


@contextmanager
def _killed_at_the_end(child: "subprocess.Popen[bytes]") -> Generator[None]:
    """Kill *child* and its whole session if it still runs at the end, for instance after a signal."""
    try:
        yield
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


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
