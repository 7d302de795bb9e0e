"""Fuzz the parsers of untrusted bytes: `run.py [--seconds N] [TARGET...]`; the targets share the time.

With atheris the fuzzing is guided by coverage; without it, inputs are random. Findings are kept in
`tests/fuzz/inputs/TARGET`, where the tests run them from then on, and the exit code is 1.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

HERE: Final = Path(__file__).parent
INPUTS: Final = HERE / "inputs"
LONGEST: Final = 4096
SLOW_SECONDS: Final = 5
_FINDING: Final = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of fuzzing one target."""

    name: str
    executions: int
    seconds: float
    slowest_seconds: float
    found: str


def main() -> int:
    """Fuzz, print the figures, and return the exit code."""
    sys.path.insert(0, str(HERE.parent))
    arguments = _arguments()
    if arguments.one:
        return _fuzz_one(arguments.one, arguments.seconds)
    names = arguments.target or _names()
    share = max(1.0, arguments.seconds / len(names))
    guided = importlib.util.find_spec("atheris") is not None
    _say(
        f"{len(names)} targets, {share:.0f} s each, {'guided by coverage (atheris)' if guided else 'inputs by chance'}"
    )
    _say(f"{'target':<15} {'executions':>12} {'per second':>11} {'slowest s':>10}")
    all_figures = [_run(name, share, guided=guided) for name in names]
    total = sum(one.executions for one in all_figures)
    _say(f"{'all':<15} {total:>12,} {total / max(sum(one.seconds for one in all_figures), 0.001):>11,.0f}")
    found = [one for one in all_figures if one.found]
    for one in found:
        _say(f"\n{one.name}: found\n{one.found}")
    _say(f"{len(found)} findings")
    return _FINDING if found else 0


def _run(name: str, seconds: float, *, guided: bool) -> Figures:
    """Fuzz one target in its own process, and print its figures."""
    figures = _guided(name, seconds) if guided else _by_chance(name, seconds)
    rate = figures.executions / max(figures.seconds, 0.001)
    _say(f"{name:<15} {figures.executions:>12,} {rate:>11,.0f} {figures.slowest_seconds:>10.1f}")
    return figures


def _guided(name: str, seconds: float) -> Figures:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - on the path only now

    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus, dictionary = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        for number, seed in enumerate([*target.seeds, *kept_inputs(name)]):
            (corpus / f"seed-{number}").write_bytes(seed)
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds)]
        flags = [f"-dict={dictionary}", str(corpus)]
        done = subprocess.run([*command, *flags], capture_output=True, check=False, cwd=folder)
        _keep_artifacts(name, Path(folder))
    told = done.stderr.decode("utf-8", "replace")
    executed = _figure(told, r"number_of_executed_units: (\d+)")
    found = "" if done.returncode == 0 else told[-3000:]
    return Figures(name, int(executed), seconds, _figure(told, r"slowest_unit_time_sec: (\d+)"), found)


def _fuzz_one(name: str, seconds: float) -> int:
    """Fuzz one target with atheris, in this process; atheris never returns."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["image_syncer"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - imports below are instrumented

    flags = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={LONGEST}", f"-timeout={SLOW_SECONDS}"]
    rest = [word for word in sys.argv[1:] if word.startswith(("-dict", "/"))]
    atheris.Setup([sys.argv[0], *flags, "-print_final_stats=1", "-rss_limit_mb=2048", *rest], TARGETS[name].run)
    atheris.Fuzz()
    return 0


def _by_chance(name: str, seconds: float) -> Figures:
    from fuzz.inputs import mutations  # noqa: PLC0415 - on the path only now
    from fuzz.targets import TARGETS  # noqa: PLC0415

    target, count, slowest = TARGETS[name], 0, 0.0
    began = last = time.monotonic()
    for data in mutations([*target.seeds, *kept_inputs(name)], target.words, Random(os.urandom(8))):
        try:
            target.run(data)
        except Exception:  # noqa: BLE001 - any exception is a finding
            _keep(name, data)
            return Figures(name, count, last - began, slowest, traceback.format_exc())
        count += 1
        now = time.monotonic()
        slowest, last = max(slowest, now - last), now
        if now - began > seconds:
            break
    return Figures(name, count, last - began, slowest, "")


def kept_inputs(name: str) -> list[bytes]:
    """Return earlier findings for the target *name*."""
    return [file.read_bytes() for file in sorted((INPUTS / name).glob("*"))]


def _keep(name: str, data: bytes) -> None:
    folder = INPUTS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def _keep_artifacts(name: str, folder: Path) -> None:
    for pattern in ("crash-*", "timeout-*", "oom-*"):
        for file in folder.glob(pattern):
            _keep(name, file.read_bytes())


def _names() -> list[str]:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - on the path only now

    return list(TARGETS)


def _figure(text: str, pattern: str) -> float:
    match = re.search(pattern, text)
    return float(match[1]) if match else 0.0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="for all targets together")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*", help="what to fuzz; all, if left out")
    known, _ = parser.parse_known_args()
    return known


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
