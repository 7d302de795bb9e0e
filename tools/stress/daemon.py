"""The daemon as a process to start, kill, inspect and stop."""

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from lab import clean_environment, our_command
from stress.callers import Caller, basic

USER: Final = "operator"
PASSWORD: Final = secrets.token_urlsafe(12)
LOGIN: Final = basic(USER, PASSWORD)
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_OVER: Final = ("waiting", "running")
_OK: Final = 200


class Daemon:
    """The real command, run in *directory* with *arguments*, at *port*; its output goes to a file there.

    As a context manager it stops at the end, by SIGTERM if possible.
    """

    def __init__(self, directory: Path, port: int, arguments: Sequence[str] = ()) -> None:
        self.port = port
        self._directory = directory
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """The current process."""
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for its first response."""
        with (self._directory / f"daemon-{self.port}.out").open("ab") as output:
            self._process = subprocess.Popen(
                [our_command(), *self._arguments],
                cwd=self._directory,
                env=clean_environment(self._directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def start_and_wait(self) -> None:
        """Start it and wait until it is ready; `SystemExit` with the end of its output if it ends instead."""
        self.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self.ready():
            if not self.alive or time.monotonic() > deadline:
                raise SystemExit(f"the daemon did not start: {self.last_words()}")
            time.sleep(_POLL_SECONDS / 4)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def ready(self) -> bool:
        """Whether it reports that it records events and works."""
        return self._ask("GET", "/readyz")[0] == _OK

    def api(self, path: str) -> Mapping[str, Any] | None:
        """Return the response of the API, None if there is none."""
        status, body = self._ask("GET", f"/api/v1/{path}")
        return json.loads(body) if status == _OK else None

    def quiet(self) -> bool:
        """Whether it reports that no event and no job is pending."""
        if not self._is_empty("events?status=received"):
            return False
        return all(self._is_empty(f"jobs?status={status}") for status in _OVER)

    def wait_until_quiet(self, seconds: float) -> bool:
        """Return whether it was *quiet* within this many seconds, at two consecutive checks.

        Between the queries of one check a job may change from running to waiting.
        """
        deadline, looks = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and self.alive:
            looks = looks + 1 if self.quiet() else 0
            if looks > 1:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def dead_letters(self) -> Sequence[str]:
        """Return the errors of permanently failed jobs, at most 500."""
        found = self.api("jobs?status=failed&limit=500")
        return [f"{job['source']}: {job['error']}" for job in found["items"]] if found else ["not known"]

    def last_words(self, characters: int = 1500) -> str:
        """Return the end of its output."""
        output = self._directory / f"daemon-{self.port}.out"
        return output.read_text(encoding="utf-8", errors="replace")[-characters:]

    def _is_empty(self, path: str) -> bool:
        found = self.api(f"{path}&limit=1")
        return found is not None and not found["items"]

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        caller = Caller(self.port, LOGIN)
        try:
            answer = caller.ask(method, path)
        finally:
            caller.close()
        return answer.status, answer.body

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def write_fork_file(directory: Path, port: int, source: str, target: str) -> None:
    """Write the fork's files into *directory*, with its shortest tick: one minute."""
    (directory / "configs").mkdir()
    (directory / "auth.yaml").write_text("{}", encoding="utf-8")
    route = {"sourceName": source, "namespace": "team", "destinationName": target}
    file = {
        "app": {"port": f"127.0.0.1:{port}"},
        "registry": {"reg": [route]},
        "auth": {"username": USER, "password": PASSWORD},
        "sync": {"routineNum": 4, "retryCount": 2, "interval": 1, "filePosition": {"log": f"{directory}/app.log"}},
    }
    (directory / "configs/sync.yaml").write_text(json.dumps(file), encoding="utf-8")  # YAML is a superset of JSON.


def write_native_file(
    directory: Path, port: int, source: str, target: str, state: Mapping[str, str], **more: object
) -> list[str]:
    """Write a native file for the daemon at *port* into *directory*, and return its command line arguments.

    *more* are further sections of the file.
    """
    name = f"native-{port}.yaml"
    rule = {"name": "team", "source": f"{source}/team/**", "targets": f"{target}/{{repository}}", "on": "event"}
    basic_login = {"username": USER, "password": PASSWORD}
    file = {
        "version": 1,
        "rules": [rule],
        "hooks": {"stress": {"kind": "plain", "basic": basic_login}},
        "server": {"listen": f"127.0.0.1:{port}", "auth": {"basic": basic_login}},
        "state": dict(state),
        **more,
    }
    (directory / name).write_text(json.dumps(file), encoding="utf-8")
    return ["serve", "-c", name]
