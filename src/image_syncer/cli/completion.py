"""Shell completion: the script that a shell loads, and its installation in the user's home directory."""

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from image_syncer.cli.console import PROGRAM, complain, write_result
from image_syncer.errors import ImageSyncerError, UsageError

SHELLS: Final = ("bash", "zsh", "fish")
CURRENT: Final = "current"
"""The value of an option that names no shell."""

_VARIABLE: Final = "_IMAGE_SYNCER_COMPLETE"
_ZSH_SETUP: Final = "fpath+=~/.zfunc; autoload -Uz compinit; compinit"


def show_completion(root: click.Command, shell: str) -> None:
    """Write the completion script of *shell* to stdout; `UsageError` if the current shell is unknown."""
    write_result([_script(root, _known(shell)), "\n"])


def install_completion(root: click.Command, shell: str) -> None:
    """Write the completion script of *shell* into the home directory and make the shell load it."""
    shell = _known(shell)
    try:
        installed = _install(shell, _script(root, shell), Path.home())
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home directory
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageSyncerError(
            f"the completion for {shell} cannot be installed: {reason}",
            remedy=f"{PROGRAM} --show-completion {shell} prints the script",
        ) from error
    complain(f"completion for {shell} installed in {installed}; open a new terminal to use it")


def _script(root: click.Command, shell: str) -> str:
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"there is no completion for {shell}", remedy=f"one of {', '.join(SHELLS)}")
    return kind(root, {}, PROGRAM, _VARIABLE).source().strip("\n")


def _known(shell: str) -> str:
    """Return *shell*, or the shell that this process runs in."""
    if shell != CURRENT:
        return shell
    for name in (_parent(), Path(os.environ.get("SHELL", "")).name):
        if name in SHELLS:
            return name
    raise UsageError("the current shell is none of bash, zsh and fish", remedy="name one: --show-completion bash")


def _parent() -> str:
    """Return the name of the process that started this one, "" where the system does not show it."""
    try:
        return Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _install(shell: str, script: str, home: Path) -> Path:
    match shell:
        case "bash":
            file = home / ".bash_completions" / f"{PROGRAM}.sh"
            setup, line = home / ".bashrc", f"source '{file}'"
        case "zsh":
            file = home / ".zfunc" / f"_{PROGRAM}"
            setup, line = home / ".zshrc", _ZSH_SETUP
        case _:  # fish loads every file in this directory
            file = home / ".config" / "fish" / "completions" / f"{PROGRAM}.fish"
            setup, line = None, ""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{script}\n", encoding="utf-8")
    if setup is not None:
        _add_line(setup, line)
    return file


def _add_line(file: Path, line: str) -> None:
    """Append *line* to *file*, unless it is there already."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in text.splitlines():
        return
    start = "\n" if text and not text.endswith("\n") else ""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"{start}{line}\n")
