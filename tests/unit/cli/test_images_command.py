"""`config images`: what lists name, why, and what a run would copy."""

import json
from pathlib import Path

import pytest

from image_syncer.cli.main import main

COMPOSE = """services:
  web: {image: "nginx:1.27"}
  own: {image: "team/own:1", build: .}
  open: {image: "team/open:${TAG}"}
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with two rules that have lists, and one that has none."""
    monkeypatch.delenv("TAG", raising=False)
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "images.txt").write_text(f"q.io/a:1@sha256:{'a' * 64}\nQ/A:1\n")
    path = tmp_path / "mirror.yaml"
    path.write_text(
        "version: 1\nrules:\n"
        " - {name: compose, images_from: {compose: compose.yaml}, targets: 't.io/{repository}'}\n"
        " - {name: bold, images_from: {compose: compose.yaml, uncertain: true}, targets: 't.io/x/{repository}'}\n"
        " - {name: list, images_from: {list: images.txt}, targets: 't.io/y/{repository}'}\n"
        " - {name: plain, source: q.io/b, targets: t.io/b}\n"
    )
    return path


def run(mirror: Path, *options: str) -> int:
    """Run the command and return its exit code."""
    return main(["config", "images", "-c", str(mirror), *options])


def test_images_that_a_run_copies_are_printed(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One on a line, so that other tools can read them."""
    assert run(mirror, "--rule", "compose") == 0
    printed = capsys.readouterr()
    assert printed.out == "docker.io/library/nginx:1.27\n"
    assert "team/open:${TAG}" in printed.err
    assert run(mirror, "--rule", "bold") == 0
    assert capsys.readouterr().out == "docker.io/library/nginx:1.27\ndocker.io/team/own:1\n"


def test_why_names_the_places(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of images that are not certain."""
    assert run(mirror, "--rule", "compose", "--why") == 0
    place = mirror.parent / "compose.yaml"
    assert capsys.readouterr().out.splitlines() == [
        f"docker.io/library/nginx:1.27\tcopied\t{place}: service web",
        f"docker.io/team/own:1\tuncertain\t{place}: service own, which is built here",
    ]


def test_a_line_that_is_no_reference_fails(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are printed."""
    assert run(mirror) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert f"list: {mirror.parent / 'images.txt'}:2: 'Q/A': a repository" in printed.err


def test_json_has_everything(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object for each rule with a list."""
    assert run(mirror, "--output", "json") == 1
    rules = {one["rule"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(rules) == ["compose", "bold", "list"]
    assert [one["copied"] for one in rules["compose"]["images"]] == [True, False]
    (image,) = rules["list"]["images"]
    assert (image["source"], image["tag"], image["certain"]) == (f"q.io/a@sha256:{'a' * 64}", "1", True)
    assert rules["list"]["invalid"][0]["text"] == "Q/A:1"
    assert len(rules["compose"]["warnings"]) == 1


def test_a_rule_without_a_list_is_an_error(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what to write."""
    assert run(mirror, "--rule", "plain") == 2
    assert "no rule has a list of images (write images_from:" in capsys.readouterr().err
