"""image-syncer as a process that is forked from one which has imported it already.

A start costs 0.3 s to 1.5 s of CPU, nearly all of it for imports, and the tests start hundreds. A warm process has its
own pid, memory, streams and signals, and is a child of the test as any other. Tests of the start itself start *cold*.
"""

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

_SET_CHILD_SUBREAPER: Final = 36
"""prctl(2): orphans become children of this process."""
_INTERPRETER: Final = ("PYTHON", "LC_", "LD_", "LANG")
"""What affects an interpreter before it runs our code."""
_COMMON: Final = {"PYTHONPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def start(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], cold: bool = False, **options: Any
) -> subprocess.Popen[Any]:
    """Start image-syncer with *arguments*; *options* are those of `Popen` for streams.

    It is *cold*, a new interpreter, also where *env* or the platform demands that.
    """
    command = [str(Path(sys.executable).with_name("image-syncer")), *arguments]
    kind = subprocess.Popen[Any] if cold or not _can_be_warm(env) else WarmProcess
    return kind(command, cwd=cwd, env=env, **options)


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], cold: bool = False, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run image-syncer to its end, and capture its output."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(arguments, cwd=cwd, env=env, cold=cold, text=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class WarmProcess(subprocess.Popen[Any]):
    """`Popen` for image-syncer alone: only the way to the child process differs."""

    def _execute_child(self, args: Sequence[str], *arguments: Any) -> None:
        """Take the place of the method that forks and executes; its parameters are the same from 3.11 to 3.14."""
        _executable, _preexec, _close, _pass, cwd, env = arguments[:6]
        stdin_pair, stdout_pair, stderr_pair = arguments[9:11], arguments[11:13], arguments[13:15]
        streams = (stdin_pair[0], stdout_pair[1], stderr_pair[1])
        request = {"arguments": args[1:], "directory": str(cwd), "environment": dict(env)}
        given = [own if stream == -1 else stream for own, stream in enumerate(streams)]
        self.pid = _server().fork(json.dumps(request).encode(), given)
        self._child_created = True
        close: Any = getattr(self, "_close_pipe_fds")  # noqa: B009 - private, so its type is unknown
        close(*stdin_pair, *stdout_pair, *stderr_pair)


class _Server:
    """The process that has imported everything; it ends with this one."""

    def __init__(self) -> None:
        self._requests, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_INTERPRETER)}
        file = Path(__file__).with_name("warm_server.py")
        self._process = subprocess.Popen([sys.executable, str(file)], stdin=other.fileno(), env=kept)
        other.close()
        self._lock = Lock()
        self._expect(b"ready")
        atexit.register(self._end)

    def fork(self, request: bytes, streams: Sequence[int]) -> int:
        """Return the pid of a new process; it is a child of this one."""
        with self._lock:
            _take_orphans(wanted=True)
            try:
                socket.send_fds(self._requests, [request], streams)
                pid = int(self._requests.recv(100))
                self._expect(b"adopted")
            finally:
                _take_orphans(wanted=False)
        return pid

    def _expect(self, word: bytes) -> None:
        if self._requests.recv(100) != word:
            raise RuntimeError("the warm server has ended; its output says why")

    def _end(self) -> None:
        self._requests.close()
        self._process.wait(10)


@cache
def _server() -> _Server:
    return _Server()


@cache
def _prctl() -> Any:
    return ctypes.CDLL(None, use_errno=True).prctl


def _take_orphans(*, wanted: bool) -> None:
    if _prctl()(_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _can_be_warm(environment: Mapping[str, str]) -> bool:
    """Whether *environment* changes nothing about the interpreter itself."""
    special = {name for name in environment if name.startswith(_INTERPRETER)} - _COMMON
    same_path = environment.get("PYTHONPATH", "") in {"", os.environ.get("PYTHONPATH")}
    strict = environment.get("PYTHONWARNINGS", "error") == "error"
    utf8 = environment.get("LANG", "C.UTF-8").upper().endswith("UTF-8")
    return sys.platform == "linux" and same_path and strict and utf8 and special <= {"LANG"}
