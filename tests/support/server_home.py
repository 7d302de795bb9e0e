"""The home of a test server: a temporary directory of an unprivileged user, and the processes in it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_STOP_SECONDS: Final = 20
_POLL_SECONDS: Final = 0.05


class ServerHome:
    """The directory of *server* and its processes. For root they run as the first existing user of *users*.

    A server run by root would leave root's files, and PostgreSQL refuses to run as root.
    """

    def __init__(self, server: str, *users: str) -> None:
        self._user = _first_known(users) if os.getuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix=f"image-syncer-{server}-"))
        self._hand_over(self.directory)

    def write(self, name: str, content: str) -> Path:
        """Write a file with *content* for the server, and return its path."""
        file = self.directory / name
        file.write_text(content, encoding="utf-8")
        self._hand_over(file)
        return file

    def take(self, file: Path) -> None:
        """Copy *file* into the directory, for the server."""
        self._hand_over(Path(shutil.copy(file, self.directory)))

    def launch(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start *command* as the leader of its own process group; *environment* None inherits ours."""
        account = None if self._user is None else self._user.pw_uid
        with (self.directory / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                user=account,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if account is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Its child processes belong to its group, and end with it.
            )

    def wait_until(self, answers: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
        """Return once *answers* holds; `RuntimeError` with the output if *process* ends, or after *seconds*."""
        deadline = time.monotonic() + seconds
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self._output())
            time.sleep(_POLL_SECONDS)

    def run(self, *command: str, seconds: float) -> None:
        """Run *command* to its end; `RuntimeError` with its output if it fails."""
        process = self.launch(*command)
        try:
            status = process.wait(seconds)
        finally:
            end(process, signal.SIGKILL)
        if status != 0:
            raise RuntimeError(self._output())

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory)

    def _output(self) -> str:
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")[-2000:]

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user.pw_uid, self._user.pw_gid)


def end(process: subprocess.Popen[bytes] | None, how: signal.Signals = signal.SIGTERM) -> None:
    """Signal *process* and its group to end; if they do not within 20 s, kill them and raise."""
    if process is None or process.poll() is not None:
        return
    os.killpg(process.pid, how)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _first_known(users: tuple[str, ...]) -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in users if name in known)
