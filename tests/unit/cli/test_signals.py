import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.exceptions import Exit

from image_syncer.cli.signals import Signals, run_unless_interrupted, run_with_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the signal handlers after the test. SIGHUP is not ignored before it, as it is in tests under nohup."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_lets_the_work_end_in_order(number: int, code: int) -> None:
    """The work still returns its value, and the exit code names the signal."""
    requested = asyncio.Event()
    signals = Signals(first=requested.set, last=lambda: None)

    async def work() -> str:
        send(number)
        async with asyncio.timeout(5):
            await requested.wait()
        return "drained"

    assert run_with_signals(work(), signals) == "drained"
    assert signals.exit_code == code


def test_after_the_second_signal_the_work_still_has_a_result() -> None:
    """A report of it can be written."""
    at_once = asyncio.Event()
    signals = Signals(first=lambda: send(signal.SIGTERM), second=at_once.set, last=lambda: None)

    async def work() -> str:
        send(signal.SIGINT)
        async with asyncio.timeout(5):
            await at_once.wait()
        return "cut short"

    try:
        assert run_with_signals(work(), signals) == "cut short"
    finally:
        signals.disarm()
    assert signals.exit_code == 130


STUBBORN = """
import os, signal, sys, time
from image_syncer.cli import signals as signals_module
signals_module._LAST_SECONDS = 0.3
signals = signals_module.Signals(first=lambda: None, second=lambda: None, last=lambda: print("restored", flush=True))
async def work():
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)
        await __import__("asyncio").sleep(0.05)
    time.sleep(30)  # The loop itself is stuck.
signals_module.run_with_signals(work(), signals)
"""


@pytest.mark.parametrize("times", [2, 3])
def test_a_process_that_is_stuck_is_ended(times: int) -> None:
    """A third signal ends it, or the time after the second; it restores the terminal first."""
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN, str(times)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "restored\n", "")


def test_a_hangup_that_the_parent_ignores_stays_ignored() -> None:
    """`nohup image-syncer` survives the end of its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = Signals(first=lambda: None, last=lambda: None)

    async def work() -> str:
        send(signal.SIGHUP)
        await asyncio.sleep(0.05)
        return "complete"

    assert run_with_signals(work(), signals) == "complete"
    assert signals.exit_code is None


def test_without_a_signal_there_is_no_exit_code() -> None:
    """Only the result decides about the exit code."""
    signals = Signals(first=lambda: None, last=lambda: None)

    async def work() -> int:
        return 7

    assert run_with_signals(work(), signals) == 7
    assert signals.exit_code is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_droppable_work_is_cancelled_by_the_first_signal(number: int, code: int) -> None:
    """Its cleanup runs, and the exit code names the signal."""
    cleaned: list[str] = []

    async def work() -> None:
        try:
            send(number)
            await asyncio.sleep(60)
        finally:
            cleaned.append("closed")

    with pytest.raises(Exit) as ended:
        run_unless_interrupted(work())
    assert ended.value.exit_code == code
    assert cleaned == ["closed"]


def test_an_error_of_droppable_work_is_raised() -> None:
    """It is inside an exception group; the command line unwraps it."""

    async def work() -> None:
        raise LookupError("gone")

    with pytest.raises(ExceptionGroup) as error:
        run_unless_interrupted(work())
    assert error.group_contains(LookupError, match="gone")
