"""The way from the command to the socket stays short enough to read."""

import subprocess
import sys
from pathlib import Path

import pytest

_TOOL = Path(__file__).parents[2] / "tools/path_length.py"
FRAMES_TO_A_MANIFEST = 28
"""The number of our functions between `image-syncer copy` and the sending of the manifest."""

HOPS_TO_A_COPY = 40
"""How many functions and hand-overs may lie between a webhook and the copy of its image."""


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a process of its own, since it replaces parts of asyncio and socket."""
    return subprocess.run([sys.executable, _TOOL, *options], capture_output=True, text=True, timeout=60, check=False)


def test_the_way_from_the_command_to_the_manifest_stays_short() -> None:
    """The tool counts at most the agreed number of frames."""
    done = run("--at-most", str(FRAMES_TO_A_MANIFEST))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tool_sees_the_whole_way() -> None:
    """Frames of every layer are on the list, from the command down to the send; one frame less than it has fails."""
    listed = run("--list", "--at-most", "10")
    frames = [line.split()[1:] for line in listed.stdout.splitlines() if " frames in " not in line]
    layers = {file.split("/")[0] for file, _ in frames}
    assert {"cli", "app.py", "sync", "registry"} <= layers
    assert frames[-1][0].startswith("registry/http/")
    assert listed.returncode == 1


@pytest.mark.slow
def test_the_way_from_a_webhook_to_the_copy_stays_short() -> None:
    """The request, the dispatcher and the job together, with two hand-overs."""
    done = run("--webhook", "--list", "--at-most", str(HOPS_TO_A_COPY))
    assert done.returncode == 0, done.stdout + done.stderr
    files = {
        line.split()[1] for line in done.stdout.splitlines() if line[:3].strip().isdigit() and " frames " not in line
    }
    assert {"server/hooks.py", "daemon/dispatcher.py", "daemon/job_handlers.py", "sync/run.py"} <= files
