"""The commands `jobs list|show|retry|cancel`. They open the daemon's queue, whether the daemon runs or not."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from image_syncer.cli.configuration import default_file
from image_syncer.cli.console import complain, write_result
from image_syncer.cli.jobs import job_tables
from image_syncer.cli.jobs.job_tables import ActionResult, JobAction
from image_syncer.cli.log import logging_for
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.output import show
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.load import load_daemon_state
from image_syncer.config.locations import DatabaseLocations
from image_syncer.errors import ImageSyncerError, UsageError
from image_syncer.jobs import JobFilter, JobQueue, JobRecord, JobStatus, JobStep, JobStoreOptions, Replay, open_jobs

Value = TypeVar("Value")
Action = Callable[[JobQueue, int], Awaitable[JobAction]]

_STORE: Final = JobStoreOptions(connections=1, make=False)
_LARGEST_ID: Final = 2**63 - 1
_RETRIED: Final = {
    Replay.QUEUED: ActionResult.QUEUED,
    Replay.MERGED: ActionResult.MERGED,
    Replay.REFUSED: ActionResult.REFUSED,
}


def job_filter(names: Sequence[str], kind: str | None, before: int | None, limit: int) -> JobFilter:
    """Return the filter for the statuses with these *names*; without names it takes every status."""
    statuses = frozenset(status for status in JobStatus if status.value in names) if names else None
    return JobFilter(
        statuses=statuses, kind=kind, before=None if before is None else min(before, _LARGEST_ID), limit=limit
    )


def list_jobs(file: Path | None, wanted: JobFilter, output: OutputOptions) -> int:
    """Write the *wanted* jobs to stdout, and the number of jobs by status."""

    async def read(jobs: JobQueue) -> job_tables.JobListing:
        found = await jobs.list(wanted)
        return job_tables.JobListing(found, await jobs.counts(), more=len(found) == wanted.limit)

    listing = _with_queue(file, "list", output, read)
    if output.output == "json":
        write_result([json.dumps(job_tables.listing_as_json(listing), indent=2), "\n"])
    else:
        show(job_tables.listing_as_text(listing, _now(), job_tables.terminal_width()))
    return 0


def show_job(file: Path | None, job: int, output: OutputOptions) -> int:
    """Write one job with its steps to stdout."""
    found = _with_queue(file, "show", output, lambda jobs: _find(jobs, job))
    if found is None:
        raise ImageSyncerError(f"there is no job {job}")
    if output.output == "json":
        write_result([json.dumps(job_tables.job_as_json(*found), indent=2), "\n"])
    else:
        show(job_tables.job_as_text(*found, _now()))
    return 0


def retry(file: Path | None, ids: Sequence[int], output: OutputOptions, *, failed: bool) -> int:
    """Queue the jobs *ids* again, or all *failed* jobs, and print the result for each."""
    if bool(ids) == failed:
        problem = "job ids and --failed exclude each other" if failed else "no job ids are given"
        raise UsageError(problem, remedy="image-syncer jobs retry ID..., or image-syncer jobs retry --failed")
    if not failed:
        return _act_on_each(file, "retry", ids, _retry, output)
    actions = _with_queue(file, "retry", output, _retry_failed)
    if output.output == "json":
        write_result([json.dumps(job_tables.actions_as_json(actions)), "\n"])
    else:
        write_result([job_tables.retried_as_text(actions), "\n"])
    return 0  # A job that is no longer failed was retried or cancelled by another caller meanwhile.


def cancel(file: Path | None, ids: Sequence[int], output: OutputOptions) -> int:
    """Cancel the jobs *ids*, and print the result for each."""
    return _act_on_each(file, "cancel", ids, _cancel, output)


def _act_on_each(file: Path | None, command: str, ids: Sequence[int], act: Action, output: OutputOptions) -> int:
    """Call *act* for each job, one transaction each, and print its result at once; return 1 if one was refused."""

    async def work(jobs: JobQueue) -> list[JobAction]:
        actions: list[JobAction] = []
        for job in dict.fromkeys(ids):
            action = await act(jobs, job) if job <= _LARGEST_ID else JobAction(job, ActionResult.UNKNOWN)
            actions.append(action)
            if output.output == "text":
                _print(action, command)
        return actions

    actions = _with_queue(file, command, output, work)
    if output.output == "json":
        write_result([json.dumps(job_tables.actions_as_json(actions)), "\n"])
    return int(any(not action.is_done for action in actions))


def _print(action: JobAction, command: str) -> None:
    text = job_tables.action_as_text(action, command)
    if action.is_done:
        write_result([text, "\n"])
    else:
        complain(text)


async def _retry(jobs: JobQueue, job: int) -> JobAction:
    result = _RETRIED[await jobs.retry(job)]
    return JobAction(job, result) if result is not ActionResult.REFUSED else await _refused(jobs, job)


async def _retry_failed(jobs: JobQueue) -> list[JobAction]:
    async with aclosing(failed_jobs(jobs)) as ids:
        return [JobAction(job, _RETRIED[await jobs.retry(job)]) async for job in ids]


async def failed_jobs(jobs: JobQueue, page: int = 1000) -> AsyncGenerator[int]:
    """Yield the ids of all failed jobs, newest first, reading *page* of them at once.

    The ids only fall, so a job that stays failed or fails again meanwhile is yielded once.
    """
    before: int | None = None
    while True:
        found = await jobs.list(JobFilter(statuses=frozenset({JobStatus.FAILED}), before=before, limit=page))
        for view in found:
            yield view.id
        if len(found) < page:
            return
        before = found[-1].id


async def _cancel(jobs: JobQueue, job: int) -> JobAction:
    if not await jobs.abort(job):
        return await _refused(jobs, job)
    found = await jobs.show(job)
    return JobAction(job, ActionResult.STOPPING if found and found[0].stopping else ActionResult.CANCELLED)


async def _find(jobs: JobQueue, job: int) -> tuple[JobRecord, Sequence[JobStep]] | None:
    return await jobs.show(job) if job <= _LARGEST_ID else None


async def _refused(jobs: JobQueue, job: int) -> JobAction:
    found = await jobs.show(job)
    if not found:
        return JobAction(job, ActionResult.UNKNOWN)
    return JobAction(job, ActionResult.REFUSED, found[0].status.value)


def _with_queue(
    file: Path | None, command: str, output: OutputOptions, work: Callable[[JobQueue], Coroutine[Any, Any, Value]]
) -> Value:
    """Return the value of *work* on the queue of the daemon's *file*; a missing queue is an error and is not created.

    An interruption takes effect between two transactions. Only `state:` of the file is read, so the secrets of the
    server need not be set.
    """
    path = file or default_file(f"jobs {command}")
    state = load_daemon_state(path, environment=os.environ)
    location = DatabaseLocations.of_state(state).jobs
    if state.url is None and state.path is None and not Path(location).exists():
        raise ImageSyncerError(
            f"{location}: there are no jobs yet, or the daemon has another state directory",
            remedy=f"set state: {{path: DIRECTORY}} in {path}, or XDG_STATE_HOME as for the daemon",
        )

    async def opened() -> Value:
        async with open_jobs(location, _STORE) as jobs:
            return await work(jobs)

    with logging_for(output):
        return run_unless_interrupted(opened())


def _now() -> datetime:
    return datetime.now(UTC)
