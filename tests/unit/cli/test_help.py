"""Content and order of help texts."""

import re
from collections.abc import Iterator

import click
import pytest

from image_syncer.cli.main import main, root


def every_command(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of *command* and of every command below it."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*words, name))


COMMANDS = list(every_command(root))


def shown(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the stdout of a command that succeeds."""
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_names_the_whole_command_and_fits_80_columns(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only examples, which a user copies as one line, may be longer. No sentence is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(*words, "--help", capsys=capsys)
    assert text.startswith(f"Usage: {' '.join(('image-syncer', *words))} [OPTIONS]")
    long_lines = [line for line in text.splitlines() if len(line) > 80]
    assert [line for line in long_lines if not line.startswith("  image-syncer ")] == []
    assert not re.search(r"\.\.\.$", text.split("\n", 2)[2], re.MULTILINE)
    assert "-h, --help" in text.splitlines()[-1]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_as_a_command_prints_the_same(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`image-syncer help jobs list` is `image-syncer jobs list --help`."""
    assert shown("help", *words, capsys=capsys) == shown(*words, "--help", capsys=capsys)


def test_examples_and_commands_come_before_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader sees the commands without scrolling past thirty options."""
    headings = re.findall(r"^(\S.*):$", shown("--help", capsys=capsys), re.MULTILINE)
    assert headings == [
        "Examples",
        "Commands",
        "Rules and logins",
        "Copying",
        "Reports",
        "Output and log",
        "Other options",
    ]


def test_the_list_of_commands_has_whole_sentences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long sentence is wrapped, not cut."""
    monkeypatch.setenv("COLUMNS", "60")
    text = shown("config", "--help", capsys=capsys)
    assert "schema    Print the JSON Schema of the native\n            configuration file, for editors\n" in text


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("--proc", "16; 1 to 1000"),
        ("--patience", "10m; 7h for quotas"),
        ("--stall-timeout", "60s"),
        ("--output-images-format", "yaml"),
        ("--output", "text"),
    ],
)
def test_defaults_are_shown_with_the_option(
    option: str, default: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default is in brackets at the end of its option, not in the sentence."""
    monkeypatch.setenv("COLUMNS", "300")
    text = " ".join(shown("sync", "--help", capsys=capsys).split())
    assert re.search(rf"{option} [^\[]*(\[text\|json\])? ?[^\[]*\[default: {re.escape(default)}\]", text)


def test_every_option_has_a_help_text() -> None:
    """A visible option without a text is of no use."""
    without = [
        (command.name, parameter.name)
        for words in COMMANDS
        for command in [find(words)]
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and not getattr(parameter, "help", None)
    ]
    assert without == []


def find(words: tuple[str, ...]) -> click.Command:
    """Return the command that *words* name."""
    command: click.Command = root
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command
