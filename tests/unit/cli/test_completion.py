"""Shell completion, with the real shells where they are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from image_syncer.cli.main import main

SHELLS = ("bash", "zsh", "fish")


def complete(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the completions of the last of *words*, as bash asks for them."""
    monkeypatch.setenv("_IMAGE_SYNCER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("image-syncer sy", ["sync"]),
        ("image-syncer jobs ", ["list", "show", "retry", "cancel"]),
        ("image-syncer jobs list --status su", ["succeeded", "superseded"]),
        ("image-syncer sync --output-", ["--output-success-images", "--output-images-format"]),
    ],
)
def test_commands_options_and_values_are_completed(
    words: str, completions: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell asks the program itself, by environment variables."""
    assert complete(words, monkeypatch, capsys) == completions


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script asks the program by its environment variable. The shell accepts its syntax."""
    assert main(["--show-completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_IMAGE_SYNCER_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_without_a_shell_the_current_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parent process decides, else the variable SHELL."""
    monkeypatch.setattr("os.getppid", lambda: 2**22 + 1)
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert main(["--show-completion"]) == 0
    assert "fish_complete" in capsys.readouterr().out


def test_an_unknown_current_shell_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy names the option with a shell."""
    monkeypatch.setattr("os.getppid", lambda: 2**22 + 1)
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["--show-completion"]) == 2
    assert capsys.readouterr().err == (
        "image-syncer: the current shell is none of bash, zsh and fish (name one: --show-completion bash)\n"
    )


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="the system does not show the parent process")
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_parent_process_is_the_current_shell() -> None:
    """The login shell in SHELL may be another one."""
    code = "from image_syncer.cli.main import main; raise SystemExit(main(['--show-completion']))"
    script = f'"{sys.executable}" -c "{code}"; exit $?'
    environment = {**os.environ, "SHELL": "/usr/bin/fish"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "bash_complete" in done.stdout


@pytest.mark.parametrize(
    ("shell", "script", "setup", "line"),
    [
        ("bash", ".bash_completions/image-syncer.sh", ".bashrc", "source '{home}/.bash_completions/image-syncer.sh'"),
        ("zsh", ".zfunc/_image-syncer", ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
        ("fish", ".config/fish/completions/image-syncer.fish", None, ""),
    ],
)
def test_installation_writes_the_script_and_one_line_of_setup(  # noqa: PLR0913, PLR0917 - fixtures
    shell: str,
    script: str,
    setup: str | None,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second installation adds no second line and keeps the user's own lines."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if setup is not None:
        (tmp_path / setup).write_text("# mine, without a newline", encoding="utf-8")
    for _ in range(2):
        assert main(["--install-completion", shell]) == 0
    assert str(tmp_path / script) in capsys.readouterr().err
    assert f"{shell}_complete" in (tmp_path / script).read_text(encoding="utf-8")
    if setup is not None:
        expected = f"# mine, without a newline\n{line.format(home=tmp_path)}\n"
        assert (tmp_path / setup).read_text(encoding="utf-8") == expected


def test_an_installation_that_fails_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A home that is a file cannot hold the script."""
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["--install-completion", "fish"]) == 1
    assert capsys.readouterr().err == (
        "image-syncer: the completion for fish cannot be installed: Not a directory "
        "(image-syncer --show-completion fish prints the script)\n"
    )
