"""`image-syncer config show`: the effective configuration on stdout, without secrets."""

import json
from pathlib import Path

import pytest

from image_syncer.cli.main import main

NATIVE = """version: 1
include: more
registries: {q.io: {username: u, password: '${SECRET}'}}
rules: [{name: one, source: q.io/a, targets: t.io/a, every: 6h}]
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a native file and the files of the Go tool."""
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.delenv("robot", raising=False)
    (tmp_path / "n.yaml").write_text(NATIVE)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.yaml").write_text("rules: [{name: two, source: q.io/b, targets: t.io/b}]\n")
    (tmp_path / "auth.yaml").write_text("q.io: {username: a$robot, password: '${SECRET}'}\n")
    (tmp_path / "images.yaml").write_text("q.io/a:v1: [t.io/a, t.io/b]\n")
    return tmp_path


def test_the_text_is_yaml_and_has_no_secret(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Included files are part of it."""
    assert main(["config", "show", "-c", str(directory / "n.yaml")]) == 0
    printed = capsys.readouterr()
    assert "hunter2" not in printed.out + printed.err
    assert "password: '***'" in printed.out
    assert "name: two" in printed.out
    assert "insecure" not in printed.out


def test_defaults_are_shown_on_request(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, too."""
    assert main(["config", "show", "-c", str(directory / "n.yaml"), "--defaults", "--output", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["registries"]["q.io"]["insecure"] is False
    assert shown["timeouts"]["connect"] == "30s"


def test_files_of_the_go_tool_are_shown_as_a_native_file(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bare `$robot` that is no variable stays."""
    files = ["--auth", str(directory / "auth.yaml"), "--images", str(directory / "images.yaml")]
    assert main(["config", "show", "--output", "json", *files]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["registries"] == {"q.io": {"username": "a$robot", "password": "***"}}
    assert [rule["targets"] for rule in shown["rules"]] == [["t.io/a", "t.io/b"]]


def test_a_broken_file_is_an_error(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its problems are those of `config validate`."""
    (directory / "n.yaml").write_text(NATIVE.replace("every", "evry"))
    assert main(["config", "show", "-c", str(directory / "n.yaml")]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert "n.yaml:4:54: rules[0]: unknown key 'evry' (did you mean every?)" in printed.err
