"""script/test names tests that fail once and pass alone, and fails for those that fail twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_tests
from run_tests import Outcomes

FAILED = int(pytest.ExitCode.TESTS_FAILED)

TESTS = """
from pathlib import Path

def test_good():
    pass

def test_unstable():
    marker = Path(__file__).with_name("ran")
    ran = marker.exists()
    marker.touch()
    assert ran

def test_broken():
    assert False
"""


@pytest.mark.parametrize(
    ("first", "second", "text", "code"),
    [
        (
            Outcomes(FAILED, {"a": True, "b": False}),
            Outcomes(0, {"b": True}),
            "unstable: failed once, passed alone\n  b\n2 passed, 0 failed",
            0,
        ),
        (Outcomes(FAILED, {"a": True, "b": False}), Outcomes(FAILED, {"b": False}), "1 passed, 1 failed", FAILED),
        (
            Outcomes(FAILED, {"a": False, "b": False, "c": True}),
            Outcomes(FAILED, {"a": True, "b": False}),
            "unstable: failed once, passed alone\n  a\n2 passed, 1 failed",
            FAILED,
        ),
        pytest.param(Outcomes(FAILED, {"b": False}), Outcomes(4), "0 passed, 1 failed", 4, id="the test is not found"),
        pytest.param(Outcomes(FAILED, {"b": False}), Outcomes(0), "0 passed, 1 failed", FAILED, id="it is skipped"),
    ],
)
def test_the_second_run_decides(first: Outcomes, second: Outcomes, text: str, code: int) -> None:
    """Only a test that passed in the second run counts as passed."""
    assert run_tests.verdict(first, second) == (text, code)


@pytest.mark.parametrize(
    ("outcomes", "repeated"),
    [
        (Outcomes(FAILED, {"a": False}), True),
        (Outcomes(FAILED, {f"t{number}": False for number in range(10)}), True),
        pytest.param(Outcomes(FAILED, {f"t{number}": False for number in range(11)}), False, id="too many"),
        pytest.param(Outcomes(0, {"a": True}), False, id="all passed"),
        pytest.param(Outcomes(FAILED, {"a": True}), False, id="failed for another reason"),
        pytest.param(Outcomes(FAILED, {"a": False}, is_complete=False), False, id="stopped early"),
        pytest.param(Outcomes(int(pytest.ExitCode.INTERRUPTED), {"a": False}), False, id="interrupted"),
    ],
)
def test_a_few_failures_of_a_complete_run_are_repeated(outcomes: Outcomes, repeated: bool) -> None:
    """A run that was stopped says nothing about the tests that it did not reach."""
    assert outcomes.is_repeatable is repeated


def run(folder: Path, *arguments: str) -> tuple[list[str], int]:
    """Run TESTS in two processes; return the lines of the output and the exit code."""
    (folder / "test_sample.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TEST_"))}
    command = sys.executable, run_tests.__file__, "-p", "no:cacheprovider", "--numprocesses=2", *arguments
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    return done.stdout.splitlines(), done.returncode


def test_an_unstable_test_is_named_at_the_end(tmp_path: Path) -> None:
    """It passes alone, so the exit code is 0."""
    lines, code = run(tmp_path, "-k", "good or unstable")
    assert lines[-3:] == [
        "unstable: failed once, passed alone",
        "  test_sample.py::test_unstable",
        "2 passed, 0 failed",
    ]
    assert code == 0


def test_a_broken_test_fails_twice(tmp_path: Path) -> None:
    """An unstable one beside it is named all the same."""
    lines, code = run(tmp_path)
    assert lines[-3:] == [
        "unstable: failed once, passed alone",
        "  test_sample.py::test_unstable",
        "2 passed, 1 failed",
    ]
    assert code == FAILED


def test_a_run_that_stopped_at_a_failure_is_not_repeated(tmp_path: Path) -> None:
    """The last line is the summary of pytest."""
    lines, code = run(tmp_path, "--numprocesses=0", "--maxfail=1", "-k", "unstable or broken")
    assert "1 failed" in lines[-1]
    assert code == FAILED
