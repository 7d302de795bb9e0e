"""image-syncer as users run it: as a process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support import warm_process

Done = subprocess.CompletedProcess[str]

_PATIENCE_SECONDS = 60


@dataclass
class CommandLine:
    """Runs image-syncer as a process, in an empty home and its own directory."""

    directory: Path
    environment: dict[str, str] = field(init=False)
    started: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "PYTHONPATH"}}
        self.environment = {**kept, "HOME": str(self.directory), "PYTHONWARNINGS": "error"}

    def write(self, name: str, text: str) -> Path:
        """Write a file into the directory."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """Read a file of the directory."""
        return (self.directory / name).read_text()

    def run(self, *arguments: str) -> Done:
        """Run to the end; output for users never contains a traceback."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=_PATIENCE_SECONDS)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def shell(self, script: str) -> Done:
        """Run a line of bash in which `$it` is image-syncer."""
        line = f'it="{sys.executable} -m image_syncer"; {script}'
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start the process and return at once; it ends with the test."""
        process = warm_process.start(
            arguments, cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Kill processes that still run."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=_PATIENCE_SECONDS)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* is true, for at most 30 seconds."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError("nothing happened within 30 seconds")
