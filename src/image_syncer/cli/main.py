"""The command line: commands and their options, and the one place where errors become words and exit codes.

Whatever is slow to import is imported inside the commands, so that `--help`, `--version` and completion answer at once.
"""

# ruff: noqa: PLC0415 - the imports inside the commands are the point

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from image_syncer.cli.console import PROGRAM, complain, open_streams, say
from image_syncer.cli.jobs.commands import jobs_app
from image_syncer.cli.options import Files, Papers, Root, Rules, Voice, Work, given, grouped
from image_syncer.cli.values import spare
from image_syncer.errors import ImageSyncerError, UsageError

_FAILURE: Final = 1
_USAGE: Final = 2
_INTERRUPT: Final = 130
_REMOVED: Final = {
    "records": "leave it out; what a target has is found by asking it",
    "registry": "write the whole target into the images file: nginx: registry.example.com/mirror/nginx",
    "namespace": "write the whole target into the images file: nginx: registry.example.com/mirror/nginx",
}

_SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_Auth = Annotated[Path | None, typer.Option("--auth", metavar="FILE", help="Logins of the registries.")]

app = typer.Typer(name=PROGRAM, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=_SETTINGS)
config_app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=_SETTINGS)
app.add_typer(config_app, name="config", help="Look at configuration files.")
app.add_typer(jobs_app, name="jobs", help="Look at the daemon's jobs, retry or cancel them.")


@app.callback(invoke_without_command=True)
@grouped
def root(context: typer.Context, rules: Rules, work: Work, papers: Papers, voice: Voice, only: Root) -> int:
    """Keep container images in step between registries: byte-exact, resumable, and asking for little.

    Without a command the rules of --images (or --config) are carried out once, as by the command sync.
    """
    for name, remedy in _REMOVED.items():
        if getattr(only, name) is not None:
            raise UsageError(f"--{name} was removed", remedy=remedy)
    if context.invoked_subcommand is None:
        from image_syncer.cli.sync import synchronise

        return synchronise(rules, work, papers, voice, may_serve=True)
    misplaced = [option for group in (rules, work, papers, voice) for option in given(group)]
    if misplaced:
        command = context.invoked_subcommand
        raise UsageError(f"{misplaced[0]} stands before {command}", remedy=f"write {PROGRAM} {command} {misplaced[0]}")
    return 0


@app.command()
@grouped
def sync(
    rules: Rules,
    work: Work,
    papers: Papers,
    voice: Voice,
    rule: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this rule; repeatable.")] = None,
) -> int:
    """Carry out the rules once: copy what is missing or has changed, and nothing else."""
    from image_syncer.cli.sync import synchronise

    return synchronise(rules, work, papers, voice, rule or ())


@app.command()
@grouped
def serve(
    voice: Voice,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="The daemon's file.")] = None,
    allow_open: Annotated[  # noqa: FBT002 - Typer's way
        bool, typer.Option("--allow-open", help="Serve even where nothing guards the routes.")
    ] = False,
) -> int:
    """Run for ever: take push notifications, keep schedules, copy what they ask for."""
    import os

    from image_syncer.cli.daemon import serve as run_daemon

    return run_daemon(config, voice, dict(os.environ), allow_open=allow_open)


@app.command()
@grouped
def worker(
    voice: Voice,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="The daemon's file.")] = None,
) -> int:
    """Run for ever: do the jobs of a fleet on PostgreSQL, without taking notifications."""
    import os

    from image_syncer.cli.daemon import work as run_worker

    return run_worker(config, voice, dict(os.environ))


@app.command()
@grouped
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to read; without a tag it is latest.")],
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="What to write.")],
    work: Work,
    papers: Papers,
    voice: Voice,
    auth: _Auth = None,
) -> int:
    """Copy one image to one or more targets; a target without a tag keeps that of the source."""
    from image_syncer.cli.sync import copy as copy_images

    return copy_images((source, targets), auth, work, papers, voice)


@app.command()
@grouped
def tags(repository: Annotated[str, typer.Argument(metavar="REPOSITORY")], voice: Voice, auth: _Auth = None) -> int:
    """List the tags of a repository."""
    from image_syncer.cli.inspect import tags as show_tags

    return show_tags(repository, auth, voice)


@app.command()
@grouped
def inspect(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE")],
    voice: Voice,
    auth: _Auth = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write the manifest's very bytes.")] = False,  # noqa: FBT002 - Typer's way
) -> int:
    """Show what a reference names: digest, type, size, platforms."""
    from image_syncer.cli.inspect import inspect as show

    return show(reference, auth, voice, raw=raw)


@config_app.command()
@grouped
def validate(files: Files, voice: Voice) -> int:
    """Check configuration files without contacting anybody."""
    from image_syncer.cli import configuration

    return configuration.validate(files, voice)


@config_app.command()
@grouped
def schema(voice: Voice) -> int:
    """Write the JSON Schema of the native configuration file, for editors."""
    del voice  # The options that every command has.
    from image_syncer.cli import configuration

    return configuration.schema()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (None: those of this process) and return the exit code.

    0: nothing failed. 1: something did. 2: usage or configuration, nothing was contacted. 130, 143: interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    open_streams()
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        return _INTERRUPT
    except Exception as error:  # noqa: BLE001 - the outermost place: every error becomes one line and an exit code
        return _explain(error, debug="--debug" in words)


def _dispatch(words: list[str]) -> int:
    """Run the command that *words* begin with, else the root command.

    Going through the groups above it would make Typer look at all of their options, and import pydantic for that.
    """
    command, name = get_command(app), PROGRAM
    while words and isinstance(command, TyperGroup) and words[0] in command.commands:
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    spare(command)
    # A command that is entered directly inherits no settings from the groups above it.
    return int(command.main(words, prog_name=name, standalone_mode=False, **_SETTINGS) or 0)


def _explain(error: BaseException, *, debug: bool) -> int:
    """Say what *error* means for the user and return the exit code."""
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            say(line)
    from image_syncer.concurrency.taskpool import first_of

    error = first_of(error)
    match error:
        case typer.TyperException():
            command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
            complain(f"{error.format_message().rstrip('.')} (see {command} --help)")
            return _USAGE
        case ImageSyncerError():
            _complain_in_lines(str(error))
            return _USAGE if isinstance(error, UsageError) else _FAILURE
        case _:  # Its text is nobody's promise: it may hold anything, a signed address for instance.
            complain(f"an unexpected {type(error).__name__} (please report it, with what --debug shows)")
            return _FAILURE


def _complain_in_lines(text: str) -> None:
    """Several faults of a file have a line each; the errors of a registry never have line breaks."""
    first, *others = text.splitlines() or [""]
    complain(first)
    for line in others:
        say(f"  {line}")
