import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.docker_registry import DockerRegistry
from support.skopeo import Skopeo
from support.tools import TOOL_PATH, TOOLS

_TOOL = TOOLS / "bench.py"


def _run(path: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _TOOL, "--quick"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": path, "TMPDIR": str(home), "COLUMNS": "120", "PYTHONPATH": TOOL_PATH},
        timeout=300,
    )


def test_without_programs_to_compare_with_the_benchmark_refuses_to_run(tmp_path: Path) -> None:
    """Figures without a comparison would mislead."""
    result = _run(str(tmp_path), tmp_path)
    assert result.returncode == 2
    assert "not installed: docker-registry and skopeo" in result.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(330)
@pytest.mark.skipif(
    not (DockerRegistry.is_installed() and Skopeo.is_installed()), reason="no docker-registry or skopeo"
)
def test_a_small_benchmark_measures_both_programs_and_leaves_no_files(tmp_path: Path) -> None:
    """Every workload has a row for each program, with requests and bytes; distant registries have a floor too."""
    result = _run(os.environ.get("PATH", ""), tmp_path)
    assert (result.returncode, list(tmp_path.iterdir())) == (0, []), result.stderr
    cells = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()]
    ours = {row[0]: row[2:] for row in cells if row[1:2] == ["image-syncer"]}
    assert list(ours) == ["unchanged", "shared", "big", "big-tls", "fan-out", "far-unchanged", "far-big"]
    assert ours["unchanged"][4:6] == ["12", "11"]
    assert all(float(size.split()[0]) > 0 for row in ours.values() for size in row[6:8])
    assert [row[0] for row in cells if row[0].startswith("skopeo") and len(row) > 5] == [
        *["skopeo"] * 5,
        "skopeo, extrapolated from 5 tags",
        "skopeo",
    ]
    assert len([row for row in cells if row[0] == "floor"]) == 6
    grown = {(row[0], row[1]): row[6:8] for row in cells if row[0] in {"unchanged", "plan (--dry-run)"}}
    assert grown["unchanged", "100"] == grown["plan (--dry-run)", "100"] == ["102", "101"]
