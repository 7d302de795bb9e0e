import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from image_syncer.cli.signals import Signals, run, run_unless_interrupted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the handlers back that were there before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    """Send a signal to ourselves."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_and_the_work_ends_by_itself(number: int, code: int) -> None:
    """Its value is still there, and the exit code tells of the signal."""
    asked = asyncio.Event()
    signals = Signals(first=asked.set, last=lambda: None)

    async def work() -> str:
        send(number)
        async with asyncio.timeout(5):
            await asked.wait()
        return "drained"

    assert run(work(), signals) == "drained"
    assert signals.exit_code == code


def test_the_second_signal_ends_the_work_which_still_has_a_result() -> None:
    """So a report can be written of it."""
    at_once = asyncio.Event()
    signals = Signals(first=lambda: send(signal.SIGTERM), second=at_once.set, last=lambda: None)

    async def work() -> str:
        send(signal.SIGINT)
        async with asyncio.timeout(5):
            await at_once.wait()
        return "cut short"

    try:
        assert run(work(), signals) == "cut short"
    finally:
        signals.disarm()
    assert signals.exit_code == 130


STUBBORN = """
import os, signal, sys, time
from image_syncer.cli import signals as signals_module
signals_module._LAST_SECONDS = 0.3
signals = signals_module.Signals(first=lambda: None, second=lambda: None, last=lambda: print("last words", flush=True))
async def work():
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)
        await __import__("asyncio").sleep(0.05)
    time.sleep(30)  # The loop itself is stuck.
signals_module.run(work(), signals)
"""


@pytest.mark.parametrize("times", [2, 3])
def test_who_can_not_end_is_ended(times: int) -> None:
    """By a third signal, or some seconds after the second; the terminal is put right before."""
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN, str(times)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "last words\n", "")


def test_without_a_signal_there_is_no_exit_code() -> None:
    """The result decides alone."""
    signals = Signals(first=lambda: None, last=lambda: None)

    async def work() -> int:
        return 7

    assert run(work(), signals) == 7
    assert signals.exit_code is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_work_that_changes_nothing_is_dropped_at_the_first_signal(number: int, code: int) -> None:
    """Looking needs no drain."""
    cleaned: list[str] = []

    async def work() -> None:
        try:
            send(number)
            await asyncio.sleep(60)
        finally:
            cleaned.append("closed")

    with pytest.raises(typer.Exit) as ended:
        run_unless_interrupted(work())
    assert ended.value.exit_code == code
    assert cleaned == ["closed"]


def test_what_the_work_raises_comes_out() -> None:
    """Inside a group, as a task group has it; the command line looks inside."""

    async def work() -> None:
        raise LookupError("gone")

    with pytest.raises(ExceptionGroup) as error:
        run_unless_interrupted(work())
    assert error.group_contains(LookupError, match="gone")
