"""The stress tool as a process."""

import json
import os
import subprocess
import sys
from typing import Any, Final

from support.tools import TOOL_PATH

_SECONDS: Final = 110


def stress(*arguments: str) -> tuple[dict[str, Any], list[str]]:
    """Return the figures of a run and the promises that it found broken; fail with its output if it has no report."""
    completed = subprocess.run(
        [sys.executable, "-m", "stress", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": TOOL_PATH},
        timeout=_SECONDS,
    )
    assert completed.stdout, completed.stderr
    report = json.loads(completed.stdout)
    assert (completed.returncode == 0) == (not report["broken"]), report
    return report["figures"], report["broken"]
