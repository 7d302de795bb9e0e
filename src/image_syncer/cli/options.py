"""The options of the commands, in groups that belong together: each group is one value, not a dozen parameters."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from image_syncer import __version__
from image_syncer.cli.console import PROGRAM, write_result

_REMOVED = typer.Option(hidden=True)


@dataclass(frozen=True, slots=True)
class Files:
    """Where rules and logins are written."""

    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="One file with logins and rules.")
    ] = None
    auth: Annotated[Path | None, typer.Option(metavar="FILE", help="Logins of the registries.")] = None
    images: Annotated[Path | None, typer.Option(metavar="FILE", help="Rules: source to target.")] = None


@dataclass(frozen=True, slots=True)
class Rules(Files):
    """The rules to carry out."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be copied; change nothing.")] = False


@dataclass(frozen=True, slots=True)
class Work:
    """How the work is done."""

    proc: Annotated[
        int, typer.Option("--proc", "-p", min=1, max=1000, metavar="N", help="Transfers at once to each registry.")
    ] = 5
    retries: Annotated[
        int, typer.Option("--retries", "-r", min=0, max=100, metavar="N", help="Repetitions of what failed.")
    ] = 2
    patience: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long a registry may make us wait: 10m if not said, 7h for a quota."),
    ] = None
    stall_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="A transfer without a byte for so long is broken off: 60s.")
    ] = None
    image_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="What one image may take; no limit if not said.")
    ] = None
    os: Annotated[list[str], typer.Option(metavar="OS[:VERSION]", help="Copy these systems only; repeatable.")] = field(
        default_factory=list[str]
    )
    arch: Annotated[
        list[str], typer.Option(metavar="ARCH[:VARIANT]", help="Copy these architectures only; repeatable.")
    ] = field(default_factory=list[str])
    platform: Annotated[
        list[str], typer.Option(metavar="OS/ARCH[/VARIANT]", help="Copy these platforms only; repeatable.")
    ] = field(default_factory=list[str])
    force: Annotated[bool, typer.Option("--force", help="Push manifests also where nothing has changed.")] = False
    state: Annotated[
        str | None, typer.Option(metavar="FILE|URL|none", help="Where runs tell each other what they found.")
    ] = None


@dataclass(frozen=True, slots=True)
class Papers:
    """What is written about a run, beside the result on stdout."""

    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what happened to each image, as JSON.")] = (
        None
    )
    output_success_images: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a map of the copied sources to their targets.")
    ] = None
    output_images_format: Annotated[
        str, typer.Option(metavar="yaml|json", help="Format of --output-success-images.")
    ] = "yaml"


@dataclass(frozen=True, slots=True)
class Voice:
    """What is said, how, and where."""

    output: Annotated[Literal["text", "json"], typer.Option(help="Format of the result on stdout.")] = "text"
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the log there, from its beginning.")] = None
    log_format: Annotated[Literal["text", "json"] | None, typer.Option(help="Format of the log.")] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the result.")] = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Draw no progress bar.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Log everything; show where in the code an error arose.")] = (
        False
    )


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's way
    if wanted:
        write_result([f"{PROGRAM} {__version__}\n"])
        raise typer.Exit


@dataclass(frozen=True, slots=True)
class Root:
    """What only the root command takes; the last three the Go tool once had, and scripts still carry them."""

    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False
    records: Annotated[str | None, _REMOVED] = None
    registry: Annotated[str | None, _REMOVED] = None
    namespace: Annotated[str | None, _REMOVED] = None


def grouped(function: Callable[..., int]) -> Callable[..., int]:
    """Return *function* as a command whose options are the fields of the groups among its parameters.

    Typer reads options from a signature; the returned function has one in which every group is replaced by its fields.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        single = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += _options(groups[name]) if name in groups else [single]

    @wraps(function)
    def command(**values: Any) -> int:
        taken: dict[str, Any] = {
            name: group(**{part.name: values.pop(part.name) for part in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        return function(**taken, **values)

    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue] - inspect's protocol
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def given(group: Any) -> list[str]:
    """Return the options of *group* that are not as they are by default, as one writes them."""
    usual = type(group)()
    return [
        f"--{part.name.replace('_', '-')}"
        for part in dataclasses.fields(group)
        if getattr(group, part.name) != getattr(usual, part.name)
    ]


def _options(group: Any) -> list[inspect.Parameter]:
    usual = group()
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            part.name, inspect.Parameter.KEYWORD_ONLY, default=getattr(usual, part.name), annotation=hints[part.name]
        )
        for part in dataclasses.fields(group)
    ]
