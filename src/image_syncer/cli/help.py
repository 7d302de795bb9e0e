"""Help texts: examples and commands before the options, options in sections, whole sentences at any width."""

from collections.abc import Sequence
from typing import Any, Final

import click
from click.types import OptionHelpExtra

from image_syncer.cli.console import write_result

_OWN: Final = "Options"
OTHER: Final = "Other options"
"""Section of the options that every command has; it comes last."""
_MAX_COLUMNS: Final = 110
SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": _MAX_COLUMNS}
"""Context settings of the root command; the commands below inherit them."""


class Option(click.Option):
    """An option that belongs to a *section* of the help text. A text as `show_default` is shown as it is."""

    def __init__(self, *args: Any, section: str = _OWN, **settings: Any) -> None:
        settings.setdefault("show_default", True)
        super().__init__(*args, **settings)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return the default and the range in plain text: `5`, `1 to 1000`."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        if isinstance(self.type, click.IntRange) and self.type.max is not None:
            extra["range"] = f"{self.type.min} to {self.type.max}"
        else:
            extra.pop("range", None)
        return extra


class Command(click.Command):
    """A command whose help shows *examples* before its options."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the options."""
        _write_examples(self.examples, formatter)
        _write_options(self, ctx, formatter)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option `--help`, which writes to stdout as every result does."""
        return _help_option(super().get_help_option(ctx))


class Group(click.Group):
    """A group of commands whose help shows *examples* and the commands before the options."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, no_args_is_help=False, **settings)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, the commands, then the options."""
        _write_examples(self.examples, formatter)
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of the commands, each with its whole first sentence."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(self.commands[name])) for name in names])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they are defined."""
        del ctx
        return list(self.commands)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option `--help`, which writes to stdout as every result does."""
        return _help_option(super().get_help_option(ctx))


def write_help(context: click.Context) -> None:
    """Write the help of the command of *context* to stdout."""
    write_result([context.command.get_help(context), "\n"])


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=1000).rstrip(".")


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def _write_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    sections: dict[str, list[tuple[str, str]]] = {_OWN: []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            sections.setdefault(getattr(parameter, "section", OTHER), []).append(record)
    sections[OTHER] = sections.pop(OTHER)
    filled = {title: records for title, records in sections.items() if records}
    for title, records in filled.items():
        with formatter.section(title if len(filled) > 1 else _OWN):
            formatter.write_dl(records)


def _help_option(option: click.Option | None) -> click.Option | None:
    if option is not None:
        option.callback = _show_help
        option.help = "Show this help."
    return option


def _show_help(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's way
    if wanted and not context.resilient_parsing:
        write_help(context)
        context.exit()
