"""The options that several commands share. A command gets each group of options as one value."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal

import click
from click.core import ParameterSource

from image_syncer.cli.help import Option
from image_syncer.structs import Struct

CommandFunction = Callable[..., int]
Decorator = Callable[[CommandFunction], CommandFunction]
Format = Literal["text", "json"]

_FILES: Final = "Rules and logins"
_COPYING: Final = "Copying"
_REPORTS: Final = "Reports"
_OUTPUT: Final = "Output and log"
_PATH: Final = click.Path(path_type=Path)
_FORMAT: Final = click.Choice(["text", "json"])


class FileOptions(Struct):
    """The files with rules and logins.

    *from_kind* is the tool that *config* belongs to, None for image-syncer; *from_target* is where its images go.
    """

    config: Path | None = None
    auth: Path | None = None
    images: Path | None = None
    from_kind: str | None = None
    from_target: str | None = None


class SourceOptions(FileOptions):
    """The rules to run, and whether to change anything."""

    dry_run: bool = False


class TransferOptions(Struct):
    """How images are selected and copied."""

    proc: int = 16
    retries: int = 2
    patience: str | None = None
    stall_timeout: str | None = None
    image_timeout: str | None = None
    os: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    force: bool = False
    referrers: bool | None = None
    state: str | None = None


class ReportOptions(Struct):
    """The files to write about a run, beside the result on stdout."""

    report: Path | None = None
    output_success_images: Path | None = None
    output_images_format: str = "yaml"


class OutputOptions(Struct):
    """The format of the result, the log, and how much goes to stderr."""

    output: Format = "text"
    log: Path | None = None
    log_format: Format | None = None
    quiet: bool = False
    no_progress: bool = False
    debug: bool = False


def option(*names: str, **settings: Any) -> Decorator:
    """Return a decorator that adds one option to a command."""
    return click.option(*names, cls=Option, **settings)


config_option: Final = option("--config", "-c", type=_PATH, metavar="FILE", help="Configuration file of the daemon.")
key_option: Final = option("--key", type=_PATH, required=True, metavar="FILE", help="Public key in PEM.")
auth_option: Final = option("--auth", type=_PATH, metavar="FILE", section=_FILES, help="Registry logins.")

from_options: Final = (
    option(
        "--from",
        "from_kind",
        metavar="KIND",
        section=_FILES,
        help="The file of --config is of this tool: regsync, skopeo, dregsy and so on.",
    ),
    option(
        "--target",
        "from_target",
        metavar="REGISTRY[/NAMESPACE]",
        section=_FILES,
        help="With --from: where images go, if the file does not say.",
    ),
)
_file_options: Final = (
    option("--config", "-c", type=_PATH, metavar="FILE", section=_FILES, help="One file with logins and rules."),
    auth_option,
    option("--images", type=_PATH, metavar="FILE", section=_FILES, help="Rules: a map from source to target."),
    *from_options,
)
_run_options: Final = (
    option(
        *("--proc", "-p"),
        type=click.IntRange(1, 1000),
        default=TransferOptions().proc,
        metavar="N",
        section=_COPYING,
        help="Most concurrent blob transfers per registry; as many as make a run faster.",
    ),
    option(
        *("--retries", "-r"),
        type=click.IntRange(0, 100),
        default=TransferOptions().retries,
        metavar="N",
        section=_COPYING,
        help="Retries for failed images.",
    ),
    option(
        "--patience",
        metavar="DURATION",
        show_default="10m; 7h for quotas",
        section=_COPYING,
        help="Longest wait for a throttled or unavailable registry.",
    ),
    option(
        "--stall-timeout",
        metavar="DURATION",
        show_default="60s",
        section=_COPYING,
        help="Abort and retry a transfer after this long without data.",
    ),
    option(
        "--image-timeout",
        metavar="DURATION",
        show_default="no limit",
        section=_COPYING,
        help="Longest time for one image.",
    ),
    option(
        "--os",
        metavar="OS[:VERSION]",
        multiple=True,
        show_default="all",
        section=_COPYING,
        help="Copy only this operating system. Repeatable.",
    ),
    option(
        "--arch",
        metavar="ARCH[:VARIANT]",
        multiple=True,
        show_default="all",
        section=_COPYING,
        help="Copy only this architecture. Repeatable.",
    ),
    option(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        multiple=True,
        show_default="all",
        section=_COPYING,
        help="Copy only this platform. Repeatable.",
    ),
    option("--force", is_flag=True, section=_COPYING, help="Push even if the target is up to date."),
    option(
        "--referrers/--no-referrers",
        default=None,
        show_default="copied with their images",
        section=_COPYING,
        help="Compare signatures and the like of unchanged images, too; or copy none.",
    ),
    option(
        "--state",
        metavar="FILE|URL|none",
        show_default="state.db in the user's state directory",
        section=_COPYING,
        help="Cache shared between runs: a file, a postgresql:// URL, or none.",
    ),
)
_report_options: Final = (
    option("--report", type=_PATH, metavar="FILE", section=_REPORTS, help="Write the result of each image as JSON."),
    option(
        "--output-success-images",
        type=_PATH,
        metavar="FILE",
        section=_REPORTS,
        help="Write a map from each copied source to its targets.",
    ),
    option(
        "--output-images-format",
        default=ReportOptions().output_images_format,
        metavar="yaml|json",
        section=_REPORTS,
        help="Format of --output-success-images.",
    ),
)
_output_options: Final = (
    option("--output", type=_FORMAT, default="text", section=_OUTPUT, help="Format of the result on stdout."),
    option("--log", type=_PATH, metavar="FILE", section=_OUTPUT, help="Write the log to a new file."),
    option("--log-format", type=_FORMAT, show_default="text", section=_OUTPUT, help="Format of the log."),
    option("--quiet", "-q", is_flag=True, section=_OUTPUT, help="Print no progress, warnings or summary; only errors."),
    option("--no-progress", is_flag=True, section=_OUTPUT, help="Show no progress bar."),
    option("--debug", is_flag=True, section=_OUTPUT, help="Log everything, and show a traceback for an error."),
)


def _group(name: str, kind: type[Struct], options: tuple[Decorator, ...]) -> Decorator:
    """Return a decorator that adds *options* to a command, which gets their values as one *kind* called *name*."""
    fields = tuple(kind.__struct_specs__)

    def decorate(function: CommandFunction) -> CommandFunction:
        @wraps(function)
        def command(*args: Any, **values: Any) -> int:
            group = kind(**{field: values.pop(field) for field in fields})
            return function(*args, **values, **{name: group})

        decorated: CommandFunction = command
        for each in reversed(options):
            decorated = each(decorated)
        return decorated

    return decorate


file_options: Final = _group("files", FileOptions, _file_options)
source_options: Final = _group(
    "source",
    SourceOptions,
    (
        *_file_options,
        option("--dry-run", is_flag=True, section=_FILES, help="Show what a run would copy. Change nothing."),
    ),
)
run_options: Final = _group("run", TransferOptions, _run_options)
report_options: Final = _group("report", ReportOptions, _report_options)
output_options: Final = _group("output", OutputOptions, _output_options)


def given_options(context: click.Context) -> list[str]:
    """Return the long names of the options on the command line of *context*."""
    return [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
