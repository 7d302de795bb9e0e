"""A helper process that answers questions with one JSON object per line, and ends with its parent.

It prints one object when it is ready, and one for each line on its standard input; it ends when that closes.
"""

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_START_SECONDS = 30.0
_ANSWER_SECONDS = 10.0


class HelperProcess:
    """Runs the Python file *program* with *arguments*; *ready* is its first object.

    A *bare* one has only the standard library, so that it starts at once and stays small.
    """

    def __init__(self, program: Path, arguments: Sequence[str], *, bare: bool = True) -> None:
        self._name = program.name
        self._process = subprocess.Popen(
            [sys.executable, *(("-I", "-S") if bare else ()), str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self.ready = self._read(_START_SECONDS)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The pid."""
        return self._process.pid

    def ask(self, question: str = "") -> dict[str, Any]:
        """Return its response to *question*; `RuntimeError` if it has ended, or does not respond within 10 s."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{question}\n".encode())
        return self._read(_ANSWER_SECONDS)

    def stop(self) -> None:
        """Let it end, and kill it if it does not."""
        with self._process as process:
            try:
                process.communicate(timeout=_ANSWER_SECONDS)  # Closes its standard input first.
            except subprocess.TimeoutExpired:
                process.kill()

    def _read(self, seconds: float) -> dict[str, Any]:
        """Return the next line; it writes one at a time, so the buffer holds no second one."""
        stdout = self._process.stdout
        if stdout is None or not select.select([stdout], [], [], seconds)[0]:
            raise RuntimeError(f"{self._name} printed nothing within {seconds} s")
        text = stdout.readline()
        if not text:
            raise RuntimeError(f"{self._name} has ended")
        return json.loads(text)
