"""The manual page image-syncer(1), from the commands themselves.

python tools/man_page.py > docs/image-syncer.1

Run it after a change of a command; `tests/deploy/test_man_page.py` fails as long as the two differ.
"""

import re
from collections.abc import Iterator
from typing import Final

import click

from image_syncer import __version__
from image_syncer.cli.console import PROGRAM
from image_syncer.cli.main import root

_FILES: Final = (
    ("mirror.yaml", ("the rules: the keys are in docs/reference/native-file.md, and as a JSON Schema in the output of "
                    "image-syncer config schema")),
    ("~/.docker/config.json, ~/.config/containers/auth.json", "logins of docker and podman, which are used as well"),
    ("$XDG_STATE_HOME/image-syncer, ~/.local/state/image-syncer", "the state"),
)  # fmt: skip
_EXITS: Final = (
    ("0", "nothing failed"),
    ("1", "at least one image failed"),
    ("2", "wrong usage or configuration; nothing was changed"),
    ("130, 143", "stopped by SIGINT or SIGTERM, after running copies had 10 seconds to finish"),
)


def page() -> str:
    """Return the page in the macros of man(7)."""
    context = root.make_context(PROGRAM, [], resilient_parsing=True)
    lines = [
        f'.TH IMAGE\\-SYNCER 1 "" "image\\-syncer {_plain(__version__)}" "User Commands"',
        ".SH NAME",
        f"{_plain(PROGRAM)} \\- mirror container images between registries",
        ".SH SYNOPSIS",
        f".B {_plain(PROGRAM)}",
        "[options] [command]",
        ".SH DESCRIPTION",
        *_prose(root.help or ""),
        *_options(root, context),
        ".SH COMMANDS",
        *_commands(root, context),
        ".SH EXIT STATUS",
        *_definitions(_EXITS),
        ".SH FILES",
        *_definitions(_FILES),
        ".SH EXAMPLES",
        *_examples(root),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    """Yield a section of each command, and of those of nested groups."""
    for name in group.list_commands(context):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
            continue
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_plain(inner.command_path.removeprefix(PROGRAM).strip())} {_plain(usage)}"
        yield from _prose(command.help or "")
        yield from _options(command, inner)
        yield from _examples(command)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and "--help" not in parameter.opts:
            yield from _definitions([record])


def _definitions(records: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in records:
        yield from (".TP", f".B {_plain(term)}", _plain(meaning))


def _examples(command: click.Command) -> Iterator[str]:
    examples: tuple[str, ...] = tuple(getattr(command, "examples", ()))
    if examples:
        yield from (".PP", ".EX", *map(_plain, examples), ".EE")


def _prose(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        yield from (".PP", _plain(" ".join(paragraph.split())))


def _plain(text: str) -> str:
    """Return *text* so that troff prints it as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    print(page(), end="")
