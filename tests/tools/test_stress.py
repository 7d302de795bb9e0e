"""Figures of the stress tool and its errors for bad input, without a server."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from image_syncer.testing import FakeRegistry
from image_syncer.testing.request_log import Request, RequestLog
from stress.crash import uploaded_digests
from stress.report import Report, percentile
from stress.stock import copied_twice
from stress.storm import pair_of, wrong_at
from stress.storm_set import storm_images
from support.tools import TOOL_PATH


def _run(*arguments: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stress", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "PYTHONPATH": TOOL_PATH},
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [("kill", "--kills", "0"), ("outage", "--rate", "-1"), ("kill", "--hooks", "x")])
def test_an_invalid_figure_is_refused(arguments: tuple[str, ...]) -> None:
    """Nothing starts; the message names the option; exit code 2."""
    result = _run(*arguments)
    assert result.returncode == 2
    assert f"argument {arguments[1]}:" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_registry_it_refuses_to_run(tmp_path: Path) -> None:
    """Exit code 2, and the name of the missing program."""
    result = _run("kill", path=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    assert "not installed: docker-registry" in result.stderr


def test_a_broken_promise_sets_the_exit_code() -> None:
    """Scripts see it without parsing the table."""
    report = Report("kill", {"lost": 1}, ["1 acknowledged image is not at the target"])
    assert report.exit_code == 1
    assert json.loads(report.to_json())["broken"] == ["1 acknowledged image is not at the target"]
    assert Report("kill", {"lost": 0}).exit_code == 0


def test_rows_are_shown_and_exported_as_json() -> None:
    """A figure of only one row is empty in the others."""
    rows = [{"minute": 1, "note": "warm"}, {"minute": 2}]
    report = Report("soak", {"syncs": 9}, rows=rows)
    assert json.loads(report.to_json())["rows"] == rows
    text = io.StringIO()
    report.show(Console(file=text, width=80))
    shown = [line.split() for line in text.getvalue().splitlines()]
    assert shown[-3:] == [["minute", "note"], ["1", "warm"], ["2"]]


def test_percentiles_are_measured_values() -> None:
    """The nearest rank; 0 for an empty list."""
    values = [float(number) for number in range(1, 201)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert (percentile([7.0], 99), percentile([], 50)) == (7.0, 0.0)


def test_only_repeated_copies_of_an_image_count_as_duplicates() -> None:
    """Missing images do not offset them."""
    assert copied_twice([1, 3, 0, 2]) == 3


def test_a_blob_counts_as_stored_whichever_request_completed_it() -> None:
    """A PUT or a POST with the content; neither a mount, nor an opened upload, nor a refused one."""
    path = "/v2/team/app/blobs/uploads/"
    log = RequestLog(
        [
            Request("POST", path, (), 202),
            Request("PUT", f"{path}1", (("_state", "x"), ("digest", "sha256:a")), 201),
            Request("POST", path, (("digest", "sha256:a"),), 201),
            Request("POST", path, (("digest", "sha256:b"),), 202),
            Request("PUT", f"{path}2", (("digest", "sha256:c"),), 400),
            Request("POST", path, (("mount", "sha256:d"), ("from", "team/base")), 201),
        ]
    )
    assert list(uploaded_digests(log)) == ["sha256:a", "sha256:a"]


def test_a_storm_detects_what_did_not_arrive() -> None:
    """A tag with another manifest, a missing manifest, and a blob with a wrong byte."""
    images = storm_images(10, docker=True)
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


def test_a_storm_covers_every_pair_of_profiles() -> None:
    """Each profile is a source and a target in turn, and never both at once."""
    pairs = [pair_of(seed) for seed in range(1, 111)]
    assert len({(source.name, target.name) for source, target in pairs}) == 110
