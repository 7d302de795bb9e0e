"""The commands below `image-syncer jobs`, with their options."""

# ruff: noqa: PLC0415 - `actions` is slow to import, and help needs none of it

from pathlib import Path
from typing import Any, Final

import click

from image_syncer.cli.console import PROGRAM
from image_syncer.cli.help import Command, Group
from image_syncer.cli.options import OutputOptions, config_option, option, output_options

STATUSES: Final = ("waiting", "running", "succeeded", "failed", "superseded", "cancelled")
KINDS: Final = ("copy", "rule")

_ID: Final = click.IntRange(min=1)


@click.group(cls=Group)
def jobs() -> None:
    """List, show, retry or cancel the daemon's jobs."""


@jobs.command(
    name="list",
    cls=Command,
    examples=(
        f"{PROGRAM} jobs list --config mirror.yaml --status failed",
        f"{PROGRAM} jobs list --config mirror.yaml --output json",
    ),
)
@config_option
@option(
    "--status",
    "statuses",
    type=click.Choice(STATUSES),
    multiple=True,
    metavar="STATUS",
    show_default="all",
    help=f"Show only jobs that are {', '.join(STATUSES[:-1])} or {STATUSES[-1]}. Repeatable.",
)
@option(
    "--kind", type=click.Choice(KINDS), show_default="both", help="Show only jobs that copy an image or run a rule."
)
@option("--limit", type=click.IntRange(1, 1000), default=50, metavar="N", help="Show this many jobs, newest first.")
@option("--before", type=_ID, metavar="ID", help="Show jobs older than this one: the next page.")
@output_options
def list_(
    config: Path | None,
    statuses: tuple[str, ...],
    kind: str | None,
    limit: int,
    before: int | None,
    output: OutputOptions,
) -> int:
    """List the daemon's jobs, newest first, and count all jobs by status."""
    actions = _actions()
    return actions.list_jobs(config, actions.job_filter(statuses, kind, before, limit), output)


@jobs.command(cls=Command, examples=(f"{PROGRAM} jobs show 7 --config mirror.yaml",))
@click.argument("job", type=_ID, metavar="ID", help="Number of the job.")
@config_option
@output_options
def show(job: int, config: Path | None, output: OutputOptions) -> int:
    """Show one job with its whole error and its history."""
    actions = _actions()
    return actions.show_job(config, job, output)


@jobs.command(
    cls=Command,
    examples=(f"{PROGRAM} jobs retry 7 8 --config mirror.yaml", f"{PROGRAM} jobs retry --failed --config mirror.yaml"),
)
@click.argument("ids", type=_ID, metavar="[ID]...", nargs=-1, help="Number of the job.")
@option("--failed", is_flag=True, help="Retry all jobs that failed for good.")
@config_option
@output_options
def retry(ids: tuple[int, ...], config: Path | None, output: OutputOptions, *, failed: bool) -> int:
    """Queue jobs again that ended without success.

    A retried job gets all its attempts again. A waiting job becomes due now.
    """
    actions = _actions()
    return actions.retry(config, ids, output, failed=failed)


@jobs.command(cls=Command, examples=(f"{PROGRAM} jobs cancel 7 --config mirror.yaml",))
@click.argument("ids", type=_ID, metavar="ID...", nargs=-1, required=True, help="Number of the job.")
@config_option
@output_options
def cancel(ids: tuple[int, ...], config: Path | None, output: OutputOptions) -> int:
    """Cancel jobs for good, whether they wait or run."""
    actions = _actions()
    return actions.cancel(config, ids, output)


def _actions() -> Any:
    from image_syncer.extras import require_daemon

    require_daemon(f"{PROGRAM} jobs")
    from image_syncer.cli.jobs import actions

    return actions
