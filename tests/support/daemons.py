"""The daemon as a process."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from support import warm_process


@contextmanager
def run_daemon(folder: Path, port: int, *arguments: str, **variables: str) -> Generator[subprocess.Popen[bytes]]:
    """Run the daemon in *folder*; without arguments it starts like the fork. *variables* extend its environment."""
    with running(folder, *arguments, **variables) as process:
        wait_for(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, (process.stdout or sys.stdin).read()
        yield process


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Generator[subprocess.Popen[bytes]]:
    """Run image-syncer in *folder* until the context ends, then ask it to stop."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    environment |= variables
    process = warm_process.start(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()


def answers(port: int) -> bool:
    """Whether the daemon answers `/healthz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as response:
            return response.status == 200
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0, *, pause: float = 0.05) -> None:
    """Wait until *condition* holds, for at most *seconds*, checking every *pause* seconds.

    The default is only there to give up: give *seconds* where a promise names them.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)
