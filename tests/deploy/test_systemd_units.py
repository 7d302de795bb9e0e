"""The units for systemd: systemd accepts them, and each starts a command that exists."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.command_parameters import command_parameters
from support.tools import ROOT

UNITS: Final = sorted((ROOT / "deploy" / "systemd").iterdir())
PROGRAM: Final = "/usr/local/bin/image-syncer"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Here image-syncer is not installed at the place that the units name, so another program takes its place."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    copies = [str(tmp_path / unit.name.replace("@.", "@1.")) for unit in UNITS if unit.suffix == ".service"]
    (tmp_path / "image-syncer-worker@1.service").symlink_to("image-syncer-worker@.service")
    command = [analyze, "verify", "--man=no", *copies, str(tmp_path / "image-syncer-sync.timer")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "image-syncer" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name)
def test_a_unit_starts_a_command(unit: Path) -> None:
    """With options that it has."""
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert program == PROGRAM
    assert str(command_parameters(arguments)["config"]) == "/etc/image-syncer/mirror.yaml"
