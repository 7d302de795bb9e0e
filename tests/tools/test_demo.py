"""The demo is a new user's first contact, so it runs here the same way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.docker_registry import DockerRegistry
from support.skopeo import Skopeo
from support.tools import TOOL_PATH, TOOLS

_TOOL = TOOLS / "demo.py"


def _environment(home: Path, path: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": path, "TMPDIR": str(home), "NO_COLOR": "1", "PYTHONPATH": TOOL_PATH}


def _run(home: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _TOOL],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(home, path),
        timeout=100,
        cwd=home,
    )


def test_without_other_programs_the_demo_uses_the_test_kit_and_says_so(tmp_path: Path) -> None:
    """Without docker-registry and skopeo it shows the same, and names the missing programs."""
    result = _run(tmp_path, str(tmp_path))
    assert (result.returncode, list(tmp_path.iterdir())) == (0, []), result.stderr
    assert "docker-registry is not installed: using a registry of the test kit instead" in result.stdout
    assert "skopeo is not installed" in result.stdout
    assert "What to try next:" in result.stdout


@pytest.mark.real
@pytest.mark.skipif(
    not (DockerRegistry.is_installed() and Skopeo.is_installed()), reason="no docker-registry or skopeo"
)
def test_between_real_registries_skopeo_finds_identical_manifests(tmp_path: Path) -> None:
    """The first run copies, the second makes one request per tag and side, and no file remains."""
    result = _run(tmp_path, os.environ.get("PATH", ""))
    assert (result.returncode, list(tmp_path.iterdir())) == (0, []), result.stderr
    assert "7 of 7 manifests are the same, byte for byte" in result.stdout
    assert "over the request budget" not in result.stdout


def test_an_interrupted_demo_stops_and_removes_everything(tmp_path: Path) -> None:
    """Ctrl-C leaves neither a process nor a file, even if a runner sends the signal twice."""
    environment = _environment(tmp_path, str(tmp_path))
    with subprocess.Popen([sys.executable, _TOOL], stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("images.yaml") for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert (demo.returncode, list(tmp_path.iterdir())) == (130, [])
