"""Run pytest, then run failed tests once more, alone: one that passes then is named as unstable.

python tools/run_tests.py [ARGUMENT...]     (arguments of pytest)

The exit code is that of the second run, if there is one. pytest also loads this file as a plugin: it writes what
became of each test into the file that TEST_OUTCOMES names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

_FILE: Final = "TEST_OUTCOMES"
_MOST: Final = 10
"""More failures than these have a cause of their own; to repeat them would only take time."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The *code* that pytest ended with, and whether each test passed; skipped tests are left out."""

    code: int
    passed: Mapping[str, bool] = field(default_factory=dict[str, bool])
    is_complete: bool = True

    @property
    def failed(self) -> tuple[str, ...]:
        """The tests that failed."""
        return tuple(test for test, passed in self.passed.items() if not passed)

    @property
    def is_repeatable(self) -> bool:
        """Whether all tests ran and only a few of them failed."""
        failures = self.code == pytest.ExitCode.TESTS_FAILED and self.is_complete
        return failures and 0 < len(self.failed) <= _MOST


def verdict(first: Outcomes, second: Outcomes) -> tuple[str, int]:
    """Return the last lines of the output, and the exit code, after the failed tests of *first* ran again."""
    unstable = [test for test in first.failed if second.passed.get(test)]
    failed = len(first.failed) - len(unstable)
    lines = ["unstable: failed once, passed alone", *(f"  {test}" for test in unstable)] if unstable else []
    lines.append(f"{sum(first.passed.values()) + len(unstable)} passed, {failed} failed")
    code = second.code if second.code or not failed else int(pytest.ExitCode.TESTS_FAILED)
    return "\n".join(lines), code


def main(arguments: Sequence[str]) -> int:
    """Run the tests that *arguments* select; return the exit code."""
    first = _run(arguments)
    if not first.is_repeatable:
        return first.code
    print(f"\nrunning {len(first.failed)} failed tests once more, alone", flush=True)
    text, code = verdict(first, _run(("--numprocesses=0", *first.failed)))
    print(text, flush=True)
    return code


def _run(arguments: Sequence[str]) -> Outcomes:
    with TemporaryDirectory(prefix="test-outcomes-") as folder:
        file = Path(folder) / "outcomes.json"
        command = sys.executable, "-m", "pytest", "-p", Path(__file__).stem, *arguments
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, _FILE: str(file)}
        code = subprocess.run(command, check=False, env=environment).returncode
        if not file.exists():  # pytest ended early, for instance because of a wrong argument.
            return Outcomes(code or int(pytest.ExitCode.INTERNAL_ERROR))
        document = json.loads(file.read_text())
    return Outcomes(code, document["passed"], document["is_complete"])


_passed: dict[str, bool] = {}
_errors: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record *report*: a test has failed if its set-up, its call or its teardown has."""
    if report.failed or (report.passed and report.when == "call"):
        _passed[report.nodeid] = _passed.get(report.nodeid, True) and not report.failed


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Record a module that cannot be imported: a run without its tests is not complete."""
    if report.failed:
        _errors.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes, in the process that prints them."""
    file = os.environ.get(_FILE)
    if file is None or hasattr(session.config, "workerinput"):
        return
    stopped = bool(session.shouldstop or session.shouldfail)
    Path(file).write_text(json.dumps({"passed": _passed, "is_complete": not stopped and not _errors}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
