"""The command line: the commands with their options, and the one place where an error becomes a line and an exit code.

Modules that are slow to import are imported inside the commands, so that `--help`, `--version` and completion answer
at once.
"""

# ruff: noqa: PLC0415 - the imports inside the commands are the point

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.exceptions import NoSuchCommand

from image_syncer import __version__
from image_syncer.cli.completion import CURRENT, SHELLS, install_completion, show_completion
from image_syncer.cli.config_commands import config
from image_syncer.cli.console import PROGRAM, complain, open_streams, say, write_result
from image_syncer.cli.files import is_cwd_removed
from image_syncer.cli.help import OTHER, SETTINGS, Command, Group, write_help
from image_syncer.cli.jobs.commands import jobs
from image_syncer.cli.login_commands import login, logout
from image_syncer.cli.options import (
    FileOptions,
    OutputOptions,
    ReportOptions,
    SourceOptions,
    TransferOptions,
    auth_option,
    config_option,
    file_options,
    from_options,
    given_options,
    key_option,
    option,
    output_options,
    report_options,
    run_options,
    source_options,
)
from image_syncer.errors import ImageSyncerError, UsageError

_FAILURE: Final = 1
_USAGE: Final = 2
_INTERRUPT: Final = 130
_REMOVED: Final = {
    "records": "leave it out: image-syncer asks the target which images it has",
    "registry": "write the whole target into the images file: nginx: registry.example.com/mirror/nginx",
    "namespace": "write the whole target into the images file: nginx: registry.example.com/mirror/nginx",
}


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's way
    if wanted and not context.resilient_parsing:
        write_result([f"{PROGRAM} {__version__}\n"])
        context.exit()


def _refuse_removed(_context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError(f"--{parameter.name} was removed", remedy=_REMOVED[parameter.name])


def _completion(action: Callable[[click.Command, str], None]) -> Callable[..., None]:
    def callback(context: click.Context, _parameter: click.Parameter, shell: str | None) -> None:
        if shell is not None and not context.resilient_parsing:
            action(context.command, shell)
            context.exit()

    return callback


def _eager(*names: str, **settings: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return an option that ends the command by itself."""
    return option(*names, is_eager=True, expose_value=False, section=OTHER, **settings)


_SHELL: Final[dict[str, Any]] = {
    "type": click.Choice([*SHELLS, CURRENT]),
    "is_flag": False,
    "flag_value": CURRENT,
    "metavar": f"[{'|'.join(SHELLS)}]",
    "show_default": "the current shell",
}


@click.group(
    cls=Group,
    context_settings=SETTINGS,
    invoke_without_command=True,
    examples=(
        f"{PROGRAM} copy nginx:1.27 registry.example.com/mirror/nginx",
        f"{PROGRAM} sync --config mirror.yaml --dry-run",
        f"{PROGRAM} --auth auth.yaml --images images.yaml",
        f"{PROGRAM} serve --config mirror.yaml",
    ),
)
@source_options
@run_options
@report_options
@output_options
@option("--records", hidden=True, expose_value=False, callback=_refuse_removed)
@option("--registry", hidden=True, expose_value=False, callback=_refuse_removed)
@option("--namespace", hidden=True, expose_value=False, callback=_refuse_removed)
@_eager(
    "--install-completion", callback=_completion(install_completion), help="Install completion for a shell.", **_SHELL
)
@_eager("--show-completion", callback=_completion(show_completion), help="Print the completion script.", **_SHELL)
@_eager("--version", "-V", is_flag=True, callback=_show_version, help="Show the version.")
@click.pass_context
def root(
    context: click.Context, source: SourceOptions, run: TransferOptions, report: ReportOptions, output: OutputOptions
) -> int:
    """Mirror container images between registries.

    Without a command, image-syncer copies the images that --images (or --config) selects, as the command sync does. The
    options --auth and --images are those of https://github.com/AliyunContainerService/image-syncer ("the Go tool"). The
    daemon also reads the sync.yaml of https://github.com/zxzixuanwang/image-syncer ("the fork").
    """
    if context.invoked_subcommand is None:
        from image_syncer.cli.sync import synchronise

        return synchronise(source, run, report, output, may_serve=True)
    misplaced = given_options(context)
    if misplaced:
        command = context.invoked_subcommand
        raise UsageError(
            f"{misplaced[0]} must come after the command {command}",
            remedy=f"write {PROGRAM} {command} {misplaced[0]}",
        )
    return 0


@root.command(
    cls=Command,
    examples=(
        f"{PROGRAM} sync --config mirror.yaml",
        f"{PROGRAM} sync --config mirror.yaml --rule nginx --rule redis",
        f"{PROGRAM} sync --auth auth.yaml --images images.yaml --report report.json",
    ),
)
@source_options
@option("--rule", "rules", metavar="NAME", multiple=True, show_default="all", help="Run only this rule. Repeatable.")
@run_options
@report_options
@output_options
def sync(
    source: SourceOptions, rules: tuple[str, ...], run: TransferOptions, report: ReportOptions, output: OutputOptions
) -> int:
    """Run the rules once: copy images that are missing or have changed."""
    from image_syncer.cli.sync import synchronise

    return synchronise(source, run, report, output, rules)


@root.command(
    cls=Command,
    examples=(
        f"{PROGRAM} copy nginx:1.27 registry.example.com/mirror/nginx",
        f"{PROGRAM} copy --platform linux/arm64 nginx:1.27 eu.example.com/nginx us.example.com/nginx",
    ),
)
@click.argument("source", metavar="SOURCE", help="Image to read. The default tag is latest.")
@click.argument(
    "targets",
    metavar="TARGET...",
    nargs=-1,
    required=True,
    help="Image or repository to write. Without a tag, the target gets the tag of the source.",
)
@auth_option
@run_options
@report_options
@output_options
def copy(
    source: str,
    targets: tuple[str, ...],
    auth: Path | None,
    run: TransferOptions,
    report: ReportOptions,
    output: OutputOptions,
) -> int:
    """Copy one image to one or more targets."""
    from image_syncer.cli.sync import copy as copy_image

    return copy_image((source, targets), auth, run, report, output)


def _require_daemon(command: str) -> None:
    from image_syncer.extras import require_daemon

    require_daemon(f"{PROGRAM} {command}")


@root.command(cls=Command, examples=(f"{PROGRAM} serve --config mirror.yaml",))
@config_option
@from_options[0]
@from_options[1]
@option("--allow-open", is_flag=True, help="Serve even if the routes accept unauthenticated requests.")
@output_options
def serve(
    config: Path | None, from_kind: str | None, from_target: str | None, output: OutputOptions, *, allow_open: bool
) -> int:
    """Run the daemon: receive webhooks, run schedules, copy images."""
    _require_daemon("serve")
    from image_syncer.cli.daemon import serve as run_daemon

    foreign = None if from_kind is None and from_target is None else (from_kind, from_target)
    return run_daemon(config, output, dict(os.environ), allow_open=allow_open, foreign=foreign)


@root.command(cls=Command, examples=(f"{PROGRAM} worker --config mirror.yaml",))
@config_option
@output_options
def worker(config: Path | None, output: OutputOptions) -> int:
    """Run an extra worker on a shared PostgreSQL queue."""
    _require_daemon("worker")
    from image_syncer.cli.daemon import work as run_worker

    return run_worker(config, output, dict(os.environ))


@root.command(cls=Command, examples=(f"{PROGRAM} tags registry.example.com/team/app",))
@click.argument("repository", metavar="REPOSITORY", help="Repository, such as registry.example.com/team/app.")
@auth_option
@output_options
def tags(repository: str, auth: Path | None, output: OutputOptions) -> int:
    """List the tags of a repository."""
    from image_syncer.cli.inspect import tags as show_tags

    return show_tags(repository, auth, output)


@root.command(
    cls=Command,
    examples=(f"{PROGRAM} inspect nginx:1.27", f"{PROGRAM} inspect --raw registry.example.com/team/app:v1"),
)
@click.argument("reference", metavar="REFERENCE", help="Image, such as nginx:1.27.")
@auth_option
@option("--raw", is_flag=True, help="Write the manifest byte for byte.")
@output_options
def inspect(reference: str, auth: Path | None, output: OutputOptions, *, raw: bool) -> int:
    """Show the digest, media type, size and platforms of an image."""
    from image_syncer.cli.inspect import inspect as show

    return show(reference, auth, output, raw=raw)


@root.command(
    cls=Command,
    examples=(f"{PROGRAM} referrers nginx:1.27", f"{PROGRAM} referrers --output json registry.example.com/team/app:v1"),
)
@click.argument("reference", metavar="REFERENCE", help="Image, such as nginx:1.27.")
@auth_option
@output_options
def referrers(reference: str, auth: Path | None, output: OutputOptions) -> int:
    """Show what is attached to an image: signatures, SBOMs, attestations."""
    from image_syncer.cli.referrer_tree import referrers as show

    return show(reference, auth, output)


@root.command(
    cls=Command,
    examples=(f"{PROGRAM} check --config mirror.yaml", f"{PROGRAM} check --push registry.example.com/team/app"),
)
@click.argument(
    "names",
    metavar="[REGISTRY[/REPOSITORY]]...",
    nargs=-1,
    help="What to check. By default all registries that the rules use.",
)
@file_options
@option("--push", is_flag=True, help="Check pushing to the named repositories, too; the upload is cancelled.")
@option("--write", is_flag=True, help="Also push the tag image-syncer-check to targets, and delete it.")
@output_options
def check(names: tuple[str, ...], files: FileOptions, output: OutputOptions, *, push: bool, write: bool) -> int:
    """Check connection, login, rights and abilities of registries."""
    from image_syncer.cli.check_command import check as run_check

    return run_check(files, names, output, pushes=push, writes=write)


@root.group(cls=Group)
def attestation() -> None:
    """Verify the statements that `attest:` of a rule attaches to copies."""


@attestation.command(
    cls=Command,
    examples=(f"{PROGRAM} attestation verify --key mirror.pub registry.example.com/team/app:v1",),
)
@click.argument("reference", metavar="REFERENCE", help="Copy, such as registry.example.com/team/app:v1.")
@key_option
@auth_option
@output_options
def verify(reference: str, key: Path, auth: Path | None, output: OutputOptions) -> int:
    """Verify where a copy came from, when, and by which rule."""
    from image_syncer.cli.attestation_verify import verify as check

    return check(reference, key, auth, output)


root.add_command(config)
root.add_command(jobs)
root.add_command(login)
root.add_command(logout)


@root.command(name="help", cls=Command, examples=(f"{PROGRAM} help sync", f"{PROGRAM} help jobs retry"))
@click.argument("names", metavar="[COMMAND]...", nargs=-1, help="Command to explain.")
@click.pass_context
def help_(context: click.Context, names: tuple[str, ...]) -> int:
    """Show the help of a command."""
    shown = context.find_root()
    for name in names:
        commands: Mapping[str, click.Command] = getattr(shown.command, "commands", {})
        if name not in commands:
            raise NoSuchCommand(name, possibilities=commands, ctx=shown)
        shown = click.Context(commands[name], parent=shown, info_name=name)
    write_help(shown)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (None: those of this process) and return the exit code.

    0: nothing failed. 1: an image or a request failed. 2: wrong usage or configuration; no server was contacted.
    130, 143: interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    open_streams()
    try:
        return int(root.main(words, prog_name=PROGRAM, standalone_mode=False) or 0)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPT
    except Exception as error:  # noqa: BLE001 - the outermost place: every error becomes one line and an exit code
        return _report_error(error, debug="--debug" in words)


def _report_error(error: BaseException, *, debug: bool) -> int:
    """Print *error* for the user and return the exit code."""
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            say(line)
    from image_syncer.concurrency.taskpool import first_of

    error = first_of(error)
    match error:
        case click.ClickException():
            command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
            complain(f"{error.format_message().rstrip('.')} (see {command} --help)")
            return _USAGE
        case ImageSyncerError():
            _complain_in_lines(str(error))
            return _USAGE if isinstance(error, UsageError) else _FAILURE
        case FileNotFoundError() if is_cwd_removed():
            complain("the working directory was removed (change to another directory)")
            return _FAILURE
        case RuntimeError() if "start new thread" in str(error):
            complain(
                "the system refuses to start another thread "
                "(raise the limit of processes: ulimit -u, or the pids limit of the container)"
            )
            return _FAILURE
        case MemoryError():
            complain("out of memory (raise the memory limit, or lower --proc)")
            return _FAILURE
        case OSError() if error.errno is not None:  # The text of the number, without the file name.
            complain(f"{os.strerror(error.errno)} (use --debug to see where)")
            return _FAILURE
        case _:  # The text of an unforeseen error may hold anything, for instance a signed URL.
            complain(f"an unexpected {type(error).__name__} (please report it, with the output of --debug)")
            return _FAILURE


def _complain_in_lines(text: str) -> None:
    """Print several problems of a file on a line each; a registry's error never has line breaks."""
    first, *others = text.splitlines() or [""]
    complain(first)
    for line in others:
        say(f"  {line}")
