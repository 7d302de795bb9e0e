"""The commands `jobs ...` and their options; what they do is in `jobs`, imported when it is needed."""

# ruff: noqa: PLC0415 - the imports inside the commands are the point

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from image_syncer.cli.options import Voice, grouped


class StatusWord(StrEnum):
    """What a job's status is called; an enumeration, since Typer takes no list of literals."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


KindWord = Literal["copy", "rule"]

_Config = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="The daemon's file.")]

jobs_app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@jobs_app.command("list")
@grouped
def list_(
    voice: Voice,
    config: _Config = None,
    status: Annotated[
        list[StatusWord] | None, typer.Option(metavar="STATUS", help=f"Only {', '.join(StatusWord)}; repeatable.")
    ] = None,
    kind: Annotated[KindWord | None, typer.Option(help="Only copies, or only runs of rules.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="At most so many, the newest.")] = 50,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only older ones than this: the next page.")
    ] = None,
) -> int:
    """List the daemon's jobs, newest first, and count all of them."""
    from image_syncer.cli.jobs import actions

    return actions.list_jobs(config, actions.wanted(status or (), kind, before, limit), voice)


@jobs_app.command()
@grouped
def show(job: Annotated[int, typer.Argument(min=1, metavar="ID")], voice: Voice, config: _Config = None) -> int:
    """Show all that is known of one job."""
    from image_syncer.cli.jobs import actions

    return actions.show_job(config, job, voice)


@jobs_app.command()
@grouped
def retry(
    voice: Voice,
    jobs_: Annotated[list[int] | None, typer.Argument(min=1, metavar="ID", show_default=False)] = None,
    config: _Config = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that have failed for good.")] = False,  # noqa: FBT002 - Typer's way
) -> int:
    """Queue jobs again that ended without success.

    They have all their attempts before them. One that waits for its next attempt is due now.
    """
    from image_syncer.cli.jobs import actions

    return actions.retry(config, jobs_ or (), voice, failed=failed)


@jobs_app.command()
@grouped
def cancel(
    jobs_: Annotated[list[int], typer.Argument(min=1, metavar="ID")], voice: Voice, config: _Config = None
) -> int:
    """Withdraw jobs that wait and stop those that run, for good."""
    from image_syncer.cli.jobs import actions

    return actions.cancel(config, jobs_, voice)
