"""A log that cannot be written never stops the daemon."""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from support import warm_process
from support.daemons import answers, wait_for
from support.ports import free_port

TOKEN = "a-token-that-is-long-enough-for-everybody"


@contextmanager
def daemon(folder: Path, port: int, stderr: int | IO[bytes], *options: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a daemon that writes its log to *stderr*."""
    (folder / "native.yaml").write_text(
        f"version: 1\nrules: [{{name: a, source: 'a.test/a', targets: 'b.test/a', on: event}}]\n"
        f"server: {{listen: 127.0.0.1:{port}, auth: {{tokens: ['{TOKEN}']}}}}\n"
    )
    arguments = ["serve", "-c", "native.yaml", "--debug", *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    process = warm_process.start(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        wait_for(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def call(port: int, path: str) -> str:
    """Return the body of a GET."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read().decode()


def stop_time(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Return the seconds until SIGTERM ended *process*, and its exit code."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(20), int(time.monotonic() - began)


def test_a_pipe_that_is_not_read_stops_neither_requests_nor_the_stop(tmp_path: Path) -> None:
    """The access log of 2 000 requests does not fit into the pipe."""
    port = free_port()
    reader, writer = os.pipe()
    try:
        with daemon(tmp_path, port, writer) as process:
            for _ in range(2000):
                call(port, "/api/v1/rules")
            assert stop_time(process) == (0, pytest.approx(0, abs=8))
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("kind", ["broken pipe", "full device", "full log file"])
def test_a_log_that_cannot_be_written_is_dropped_and_counted(tmp_path: Path, kind: str) -> None:
    """`/metrics` has the number of lines; the daemon answers, and stops as usual."""
    port = free_port()
    reader, writer = os.pipe()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        stderr: int | IO[bytes] = writer if kind == "broken pipe" else full
        options = ("--log", "/dev/full") if kind == "full log file" else ()
        with daemon(tmp_path, port, stderr, *options) as process:
            os.close(reader)
            os.close(writer)
            for _ in range(20):
                call(port, "/api/v1/rules")
            wait_for(lambda: dropped_lines(port) >= 20)
            assert stop_time(process) == (0, pytest.approx(0, abs=8))


def dropped_lines(port: int) -> float:
    """Return the metric."""
    lines = call(port, "/metrics").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("image_syncer_log_lines_dropped "))
