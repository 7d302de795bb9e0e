"""What the stress tool says of its figures, and of bad input, without a server."""

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from image_syncer.testing import FakeRegistry
from support.tools import TOOL_PATH

_TOOLS = Path(__file__).parents[2] / "tools"


def _run(*arguments: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stress", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "PYTHONPATH": TOOL_PATH},
        timeout=60,
    )


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the tool, which is no part of the package."""
    monkeypatch.setattr(sys, "path", [str(_TOOLS), *sys.path])

    def load(name: str) -> Any:
        return importlib.import_module(f"stress.{name}")

    return load


@pytest.mark.parametrize("arguments", [("kill", "--kills", "0"), ("outage", "--rate", "-1"), ("kill", "--hooks", "x")])
def test_a_figure_that_cannot_be_meant_is_refused(arguments: tuple[str, ...]) -> None:
    """Nothing is started; the option is named; exit code 2."""
    result = _run(*arguments)
    assert result.returncode == 2
    assert f"argument {arguments[1]}:" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_registry_there_is_nothing_to_try(tmp_path: Path) -> None:
    """Exit code 2, and the program's name."""
    result = _run("kill", path=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    assert "not installed: docker-registry" in result.stderr


def test_a_broken_promise_is_an_exit_code(module: Callable[[str], Any]) -> None:
    """A script sees it without reading the table."""
    report = module("report").Report("kill", {"lost": 1}, ["1 acknowledged image is not at the target"])
    assert report.exit_code == 1
    assert json.loads(report.to_json())["broken"] == ["1 acknowledged image is not at the target"]
    assert module("report").Report("kill", {"lost": 0}).exit_code == 0


def test_rows_are_shown_and_told_to_programs(module: Callable[[str], Any]) -> None:
    """A figure that one row alone has is empty in the others."""
    rows = [{"minute": 1, "note": "warm"}, {"minute": 2}]
    report = module("report").Report("soak", {"syncs": 9}, rows=rows)
    assert json.loads(report.to_json())["rows"] == rows
    text = io.StringIO()
    report.show(Console(file=text, width=80))
    shown = [line.split() for line in text.getvalue().splitlines()]
    assert shown[-3:] == [["minute", "note"], ["1", "warm"], ["2"]]


def test_percentiles_are_values_that_were_measured(module: Callable[[str], Any]) -> None:
    """The nearest rank; none of nothing."""
    percentile = module("report").percentile
    values = [float(number) for number in range(1, 201)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert (percentile([7.0], 99), percentile([], 50)) == (7.0, 0.0)


def test_what_is_stored_again_is_counted_beyond_one_for_each_image(module: Callable[[str], Any]) -> None:
    """Images that were never stored do not make up for it."""
    assert module("stock").copied_twice([1, 3, 0, 2]) == 3


def test_a_storm_sees_what_did_not_arrive(module: Callable[[str], Any]) -> None:
    """A tag that names something else, a manifest that is missing, a blob with another byte."""
    images = module("storm_set").storm_images(10, docker=True)
    wrong_at = module("storm").wrong_at
    with FakeRegistry.in_thread() as registry:
        for (path, tag), image in images.items():
            registry.load(path, image, tag)
        assert list(wrong_at(registry, images)) == []
        registry.content("storm/app0").tags["v0"] = images["storm/app0", "v1"].digest
        del registry.content("storm/app0").manifests[images["storm/app0", "v2"].digest]
        blob = next(iter(images["storm/app1", "v7"].blobs.values()))
        registry.replace_blob(blob.digest, blob.read()[:-1] + b"?")
        found = "\n".join(wrong_at(registry, images))
    assert [f"{name} " in found for name in ("storm/app0:v0", "storm/app0:v1", "storm/app0:v2", "storm/app1:v7")] == [
        True,
        False,
        True,
        True,
    ]


def test_a_storm_meets_every_pair_of_habits(module: Callable[[str], Any]) -> None:
    """Each profile is a source and a target in turn, and none its own counterpart."""
    pairs = [module("storm").pair_of(seed) for seed in range(1, 111)]
    assert len({(source.name, target.name) for source, target in pairs}) == 110
