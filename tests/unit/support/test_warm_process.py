"""A warm process of image-syncer differs from a cold one only in the cost of its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import warm_process
from support.warm_process import WarmProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process whose home is *folder*."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}


@pytest.mark.parametrize("arguments", [["config", "validate", "none.yaml"], ["sync", "--wrong"], ["copy", "--help"]])
def test_output_and_exit_code_are_those_of_a_cold_process(arguments: list[str], tmp_path: Path) -> None:
    """Also the way in which both name the program."""
    found = [warm_process.run(arguments, cwd=tmp_path, env=environment(tmp_path), cold=cold) for cold in (False, True)]
    warm, cold = [(done.returncode, done.stdout, done.stderr) for done in found]
    assert warm == cold
    assert warm[1] or warm[2]


def test_it_has_its_own_directory_and_environment(tmp_path: Path) -> None:
    """The file is relative to the directory, and its variable comes from the environment."""
    (tmp_path / "n.yaml").write_text("version: 1\nrules: []\nstate: {path: '${PLACE}'}\n")
    codes = list[int]()
    for variables in ({}, {"PLACE": "/state"}, {}):
        own = environment(tmp_path, **variables)
        codes.append(warm_process.run(["config", "validate", "-c", "n.yaml"], cwd=tmp_path, env=own).returncode)
    assert codes == [2, 0, 2]


def test_it_is_a_child_of_this_process_that_can_be_killed(tmp_path: Path) -> None:
    """And no process remains in between."""
    (tmp_path / "n.yaml").write_text("version: 1\nrules: []\nserver: {listen: 127.0.0.1:0}\n")
    process = warm_process.start(
        ["serve", "-c", "n.yaml"], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    with process:
        assert isinstance(process, WarmProcess)
        assert process.stderr is not None
        assert process.stderr.readline()
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()
        process.kill()
        assert process.wait(10) == -9


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONPATH": "/elsewhere"},
        {"LC_ALL": "C"},
        {"LANG": "de_DE"},
        {"LD_PRELOAD": "x"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_what_affects_the_interpreter_gets_a_new_one(variables: dict[str, str], tmp_path: Path) -> None:
    """The warm server has started already."""
    process = warm_process.start(
        ["--version"], cwd=tmp_path, env=environment(tmp_path, **variables), stdout=-3, stderr=-3
    )
    assert not isinstance(process, WarmProcess)
    process.wait(30)
