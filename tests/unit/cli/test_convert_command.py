"""`image-syncer config convert`: the native file on stdout, what is lost on stderr, exit codes."""

import json
from pathlib import Path

import pytest

from image_syncer.cli.main import main

REGSYNC = "version: 1\nsync:\n  - {source: a.io/x:v1, target: b.io/x:v1, type: image, backup: old}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of regsync of which something is lost."""
    path = tmp_path / "regsync.yml"
    path.write_text(REGSYNC)
    return path


def test_convert_prints_the_native_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And on stderr what is lost, with file and line."""
    assert main(["config", "convert", str(file)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# Converted from regsync;")
    assert "source: a.io/x" in printed.out
    assert f"{file}:3: lost: sync[0].backup: " in printed.err
    assert "1 rule; 1 lost, 1 noted" in printed.err


def test_strict_fails_if_something_is_lost(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The native file is printed all the same."""
    assert main(["config", "convert", "--strict", "--quiet", str(file)]) == 1
    printed = capsys.readouterr()
    assert "version: 1" in printed.out
    assert not printed.err
    file.write_text(REGSYNC.replace(", backup: old", ""))
    assert main(["config", "convert", "--strict", str(file)]) == 0


def test_what_is_not_valid_in_the_native_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its line there, so that the user need not find out at the next run; a value in a variable is not known."""
    file = tmp_path / "regsync.yml"
    tags = "{allow: ['(']}"
    file.write_text(f"version: 1\nsync:\n  - {{source: a.io/x, target: '**/x', type: repository, tags: {tags}}}\n")
    assert main(["config", "convert", str(file)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    wrong = [line for line in printed.err.splitlines() if line.startswith("not valid, line ")]
    numbers = [int(line.split()[3]) for line in wrong]
    assert [lines[number - 1].strip() for number in numbers] == ["targets: '**/x'", "- '/^(?:()$/'"]
    assert main(["config", "convert", "--strict", "--output", "json", str(file)]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
    file.write_text("version: 1\nsync:\n  - {source: a.io/x:v1, target: '{{env \"NO_SUCH\"}}/x', type: image}\n")
    assert main(["config", "convert", str(file)]) == 0
    assert "not valid" not in capsys.readouterr().err


@pytest.mark.parametrize("target", ["bad target", "mirror", "https://t.io", "t.io/UPPER", "u:p@t.io", ""])
def test_a_target_that_is_no_registry_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    """Each rule would be wrong."""
    file = tmp_path / "images.txt"
    file.write_text("q.io/a:v1\n")
    assert main(["config", "convert", "--target", target, str(file)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert "--target" in printed.err


@pytest.mark.parametrize(
    "target", ["t.io", "t.io/", "t.io:5000/a/b", "localhost/m", "t.io/{registry_path}", "${REGISTRY}/a"]
)
def test_a_target_with_or_without_a_namespace(tmp_path: Path, target: str) -> None:
    """Both are common."""
    file = tmp_path / "images.txt"
    file.write_text("q.io/a:v1\n")
    assert main(["config", "convert", "--strict", "--target", target, str(file)]) == 0


def test_a_line_that_is_no_text_is_cut_in_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of another kind may be one line of a MiB."""
    file = tmp_path / "images.txt"
    file.write_text("A" * 1_000_000)
    assert main(["config", "convert", "--target", "t.io", str(file)]) == 2
    assert len(capsys.readouterr().err) < 1000


def test_long_names_stay_unique(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are cut to the same text get numbers."""
    name = f"q.io/{'x' * 110}/{'y' * 100}"
    file = tmp_path / "images.txt"
    file.write_text("".join(f"{name}@sha256:{number:064}\n" for number in range(12)))
    assert main(["config", "convert", "--target", "t.io/m", "--strict", "--output", "json", str(file)]) == 0
    rules = json.loads(capsys.readouterr().out)["native"]["rules"]
    assert len({rule["name"] for rule in rules}) == 12
    assert max(len(rule["name"]) for rule in rules) <= 128


def test_json_has_the_file_and_the_findings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one object."""
    assert main(["config", "convert", "--output", "json", str(file)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["from"] == "regsync"
    assert printed["native"]["rules"][0]["tags"] == ["v1"]
    assert [finding["kind"] for finding in printed["findings"]] == ["note", "lost"]


def test_bad_use_is_exit_code_2(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown kind, a missing file, a file of another kind."""
    assert main(["config", "convert", "--from", "regsink", str(file)]) == 2
    assert "known: dregsy, fork, go-tool" in capsys.readouterr().err
    assert main(["config", "convert", str(tmp_path / "none.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["config", "convert", "--from", "dregsy", str(file)]) == 0
    assert "lost: sync: image-syncer has nothing like it" in capsys.readouterr().err


def test_sync_refuses_a_file_of_which_something_is_lost(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With file and line, before any server is contacted."""
    assert main(["sync", "--from", "regsync", "-c", str(file)]) == 2
    printed = capsys.readouterr().err
    assert f"{file}:3: cannot be carried over: sync[0].backup" in printed
    assert "image-syncer config convert writes the native file" in printed


def test_validate_reads_a_file_of_another_tool(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its notes are warnings; rules that the native file refuses name the way to see them."""
    file.write_text(REGSYNC.replace(", backup: old", ""))
    assert main(["config", "validate", "--from", "regsync", "-c", str(file)]) == 0
    printed = capsys.readouterr()
    assert "valid: 1 rule" in printed.out
    assert "copies signatures and other referrers along" in printed.err
    file.write_text(REGSYNC.replace("backup: old", "interval: 1s"))
    assert main(["config", "validate", "--from", "regsync", "-c", str(file)]) == 2
    assert "regsync.yml, as native.yaml:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "regsink", "-c", "x.yml"], "--from regsink: unknown (known: dregsy"),
        (["--from", "regsync"], "--from needs --config FILE"),
        (["--target", "a.io"], "--target needs --from KIND"),
        (["--from", "regsync", "-c", "none.yml"], "none.yml: no such file"),
    ],
)
@pytest.mark.parametrize("command", ["sync", "serve"])
def test_bad_options_of_other_tools(
    command: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert main([command, *options]) == 2
    assert message in capsys.readouterr().err
