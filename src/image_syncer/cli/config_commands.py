"""The commands of `config`: check, show, explain and convert configuration files."""

# ruff: noqa: PLC0415 - modules that are slow to import are imported inside the commands

from pathlib import Path

import click

from image_syncer.cli.console import PROGRAM
from image_syncer.cli.help import Command, Group
from image_syncer.cli.options import FileOptions, OutputOptions, file_options, option, output_options


@click.group(cls=Group)
def config() -> None:
    """Check, show, explain and convert configuration files, or print their JSON Schema."""


@config.command(cls=Command, examples=(f"{PROGRAM} config validate --config mirror.yaml",))
@file_options
@option("--daemon", is_flag=True, help="Check also what serve needs.")
@output_options
def validate(files: FileOptions, output: OutputOptions, *, daemon: bool) -> int:
    """Check configuration files without contacting any server."""
    from image_syncer.cli import validation

    return validation.validate(files, output, daemon=daemon)


@config.command(
    cls=Command, examples=(f"{PROGRAM} config show -c mirror.yaml", f"{PROGRAM} config show --defaults --output json")
)
@file_options
@option("--defaults", is_flag=True, help="Show keys that the files do not have, with their defaults.")
@output_options
def show(files: FileOptions, output: OutputOptions, *, defaults: bool) -> int:
    """Print the effective configuration: files merged, variables replaced, secrets masked."""
    from image_syncer.cli import show_command

    return show_command.show(files, output, shows_defaults=defaults)


@config.command(
    cls=Command,
    examples=(
        f"{PROGRAM} config explain -c mirror.yaml nginx nginx:1.27.1",
        f"{PROGRAM} config explain -c mirror.yaml --ask team quay.io/team/app:v2",
    ),
)
@click.argument("rule", metavar="RULE", help="Name of a rule.")
@click.argument("reference", metavar="REFERENCE", help="Image at the source, such as nginx:1.27.1.")
@file_options
@option("--ask", is_flag=True, help="Read the tags and dates, or the list of images, that decide.")
@output_options
def explain(rule: str, reference: str, files: FileOptions, output: OutputOptions, *, ask: bool) -> int:
    """Tell whether a rule selects an image, why, and where the image goes."""
    from image_syncer.cli import explain_command

    return explain_command.explain(rule, reference, files, output, asks_registry=ask)


@config.command(
    cls=Command,
    examples=(f"{PROGRAM} config images -c mirror.yaml", f"{PROGRAM} config images -c mirror.yaml --rule chart --why"),
)
@file_options
@option("--rule", "rules", metavar="NAME", multiple=True, show_default="all", help="Only this rule. Repeatable.")
@option("--why", is_flag=True, help="Show where each image was found, and images that are not certain.")
@output_options
def images(files: FileOptions, rules: tuple[str, ...], output: OutputOptions, *, why: bool) -> int:
    """Print the images that charts, files and clusters name for rules with images_from."""
    from image_syncer.cli import images_command

    return images_command.images(files, rules, output, why=why)


@config.command(cls=Command, examples=(f"{PROGRAM} config schema > image-syncer.schema.json",))
@output_options
def schema(output: OutputOptions) -> int:
    """Print the JSON Schema of the native configuration file, for editors."""
    del output  # Every command has these options.
    from image_syncer.cli import configuration

    return configuration.schema()


@config.command(
    cls=Command,
    examples=(
        f"{PROGRAM} config convert regsync.yml > mirror.yaml",
        f"{PROGRAM} config convert --from list --target registry.example.com/mirror images.txt",
    ),
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path), help="Files of another tool."
)
@option(
    "--from",
    "kind",
    metavar="KIND",
    show_default="recognised",
    help="dregsy, fork, go-tool, harbor, hauler, kpromo, list, oc-mirror, ocync, quay, regsync or skopeo.",
)
@option("--target", metavar="REGISTRY[/NAMESPACE]", help="Where images go, for tools whose files do not say.")
@option("--strict", is_flag=True, help="Fail if something cannot be carried over.")
@output_options
def convert(
    files: tuple[Path, ...], kind: str | None, target: str | None, output: OutputOptions, *, strict: bool
) -> int:
    """Write the native file for the files of another tool; tell what it lacks."""
    from image_syncer.cli import convert_command

    return convert_command.convert(files, kind, target, output, strict=strict)
