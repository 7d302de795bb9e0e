"""Checks that keep the documents true."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image_syncer.cli.main import root
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")])
_READMES = ("README.md", "README-zh_CN.md")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_work(document: Path) -> None:
    """A link within the repository names a file that exists."""
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("name", _READMES)
def test_the_file_of_the_readme_loads(name: str, tmp_path: Path) -> None:
    """The file of the quick start gives two rules and a login."""
    (text,) = _YAML.findall((_ROOT / name).read_text(encoding="utf-8"))
    path = tmp_path / "mirror.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load_file(path, platforms=PlatformFilter(), environment={"REGISTRY_PASSWORD": "x"})
    assert (len(loaded.rules), len(loaded.accounts), loaded.warnings) == (2, 1, ())


def test_both_readmes_show_the_same_code() -> None:
    """Code to paste does not depend on the language."""
    blocks = [
        re.findall(r"```(?:yaml)?\n.*?```", (_ROOT / name).read_text(encoding="utf-8"), re.DOTALL) for name in _READMES
    ]
    assert blocks[0][:-1] == blocks[1][:-1]  # The last block explains the scripts, in words.


def every_command(command: Any) -> Iterator[Any]:
    """Yield *command* and all its subcommands."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from every_command(below)


def test_every_option_is_documented() -> None:
    """`docs/reference/command-line.md` names each option that is not hidden."""
    text = (_ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    options = {
        name
        for one in every_command(root)
        for option in one.params
        if not getattr(option, "hidden", False)
        for name in option.opts
    }
    named = {name for name in options if name.startswith("--")} - {"--show-completion"}
    assert sorted(name for name in named if name not in text) == []
