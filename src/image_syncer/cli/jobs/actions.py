"""The commands `jobs list|show|retry|cancel`: the daemon's queue, opened beside the daemon, whether it runs or not."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from image_syncer.cli.configuration import usual_file
from image_syncer.cli.console import complain, write_result
from image_syncer.cli.jobs import tables
from image_syncer.cli.jobs.tables import Answer, Result
from image_syncer.cli.log import logging_for
from image_syncer.cli.options import Voice
from image_syncer.cli.output import show
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.load import load_file
from image_syncer.config.locations import DatabaseLocations
from image_syncer.errors import ImageSyncerError, UsageError
from image_syncer.jobs import JobFilter, JobQueue, JobRecord, JobStatus, JobStep, Replay, StoreOptions, open_jobs
from image_syncer.oci import PlatformFilter

Value = TypeVar("Value")
Act = Callable[[JobQueue, int], Awaitable[Answer]]

_STORE: Final = StoreOptions(connections=1, make=False)
_LARGEST: Final = 2**63 - 1  # the last id that a database knows
_REPLAYED: Final = {Replay.QUEUED: Result.QUEUED, Replay.MERGED: Result.MERGED, Replay.REFUSED: Result.REFUSED}


def wanted(words: Sequence[str], kind: str | None, before: int | None, limit: int) -> JobFilter:
    """Return the filter for the statuses that people call by these *words*; none of them means all."""
    statuses = frozenset(status for status in JobStatus if status.value in words) if words else None
    behind = None if before is None else min(before, _LARGEST)
    return JobFilter(statuses=statuses, kind=kind, before=behind, limit=limit)


def list_jobs(file: Path | None, chosen: JobFilter, voice: Voice) -> int:
    """Write the jobs that are *chosen* to stdout, and how many there are of each status."""

    async def read(jobs: JobQueue) -> tables.Listing:
        found = await jobs.list(chosen)
        return tables.Listing(found, await jobs.counts(), more=len(found) == chosen.limit)

    listing = _with_jobs(file, "list", voice, read)
    if voice.output == "json":
        write_result([json.dumps(tables.listing_as_json(listing), indent=2), "\n"])
    else:
        show(tables.listing_as_text(listing, _now(), tables.terminal_width()))
    return 0


def show_job(file: Path | None, job: int, voice: Voice) -> int:
    """Write all that is known of one job to stdout."""
    found = _with_jobs(file, "show", voice, lambda jobs: _found(jobs, job))
    if found is None:
        raise ImageSyncerError(f"there is no job {job}")
    if voice.output == "json":
        write_result([json.dumps(tables.job_as_json(*found), indent=2), "\n"])
    else:
        show(tables.job_as_text(*found, _now()))
    return 0


def retry(file: Path | None, ids: Sequence[int], voice: Voice, *, failed: bool) -> int:
    """Queue the jobs with these *ids* again, or all that have *failed*, and say what became of each."""
    if bool(ids) == failed:
        wrong = "jobs by id and --failed together" if failed else "no job is named"
        raise UsageError(wrong, remedy="image-syncer jobs retry ID..., or image-syncer jobs retry --failed")
    if not failed:
        return _each(file, "retry", ids, _replay, voice)
    answers = _with_jobs(file, "retry", voice, _replay_failed)
    if voice.output == "json":
        write_result([json.dumps(tables.answers_as_json(answers)), "\n"])
    else:
        write_result([tables.replayed(answers), "\n"])
    return 0  # Whoever is no longer failed has been seen to by somebody else.


def cancel(file: Path | None, ids: Sequence[int], voice: Voice) -> int:
    """End the jobs with these *ids*, and say what became of each."""
    return _each(file, "cancel", ids, _stop, voice)


def _each(file: Path | None, command: str, ids: Sequence[int], act: Act, voice: Voice) -> int:
    """Do *act* to each job, one transaction each, and say at once what it came to; 1 where one was not possible."""

    async def work(jobs: JobQueue) -> list[Answer]:
        answers: list[Answer] = []
        for job in dict.fromkeys(ids):
            answer = await act(jobs, job) if job <= _LARGEST else Answer(job, Result.UNKNOWN)
            answers.append(answer)
            if voice.output == "text":
                _say(answer, command)
        return answers

    answers = _with_jobs(file, command, voice, work)
    if voice.output == "json":
        write_result([json.dumps(tables.answers_as_json(answers)), "\n"])
    return int(any(not answer.done for answer in answers))


def _say(answer: Answer, command: str) -> None:
    text = tables.answer_as_text(answer, command)
    if answer.done:
        write_result([text, "\n"])
    else:
        complain(text)


async def _replay(jobs: JobQueue, job: int) -> Answer:
    result = _REPLAYED[await jobs.retry(job)]
    return Answer(job, result) if result is not Result.REFUSED else await _refused(jobs, job)


async def _replay_failed(jobs: JobQueue) -> list[Answer]:
    async with aclosing(failed_jobs(jobs)) as ids:
        return [Answer(job, _REPLAYED[await jobs.retry(job)]) async for job in ids]


async def failed_jobs(jobs: JobQueue, page: int = 1000) -> AsyncGenerator[int]:
    """Yield the ids of all dead letters, of which *page* are read at once.

    From the newest on, so that one that stays or fails again meanwhile does not come again.
    """
    before: int | None = None
    while True:
        found = await jobs.list(JobFilter(statuses=frozenset({JobStatus.FAILED}), before=before, limit=page))
        for view in found:
            yield view.id
        if len(found) < page:
            return
        before = found[-1].id


async def _stop(jobs: JobQueue, job: int) -> Answer:
    if not await jobs.abort(job):
        return await _refused(jobs, job)
    found = await jobs.show(job)
    return Answer(job, Result.STOPPING if found and found[0].stopping else Result.CANCELLED)


async def _found(jobs: JobQueue, job: int) -> tuple[JobRecord, Sequence[JobStep]] | None:
    return await jobs.show(job) if job <= _LARGEST else None


async def _refused(jobs: JobQueue, job: int) -> Answer:
    found = await jobs.show(job)
    return Answer(job, Result.REFUSED, found[0].status.value) if found else Answer(job, Result.UNKNOWN)


def _with_jobs(
    file: Path | None, command: str, voice: Voice, work: Callable[[JobQueue], Coroutine[Any, Any, Value]]
) -> Value:
    """Return what *work* makes of the queue that the daemon of *file* has; nothing is made where it has none yet.

    An interruption ends it between two transactions. The configuration's warnings are for those who start the daemon.
    """
    path = file or usual_file(f"jobs {command}")
    # Whether hooks are guarded is the daemon's concern too.
    configuration = load_file(path, platforms=PlatformFilter(), environment=os.environ, allow_open=True)
    if configuration.server is None:
        raise UsageError(f"{path}: this file has no server, so it has no jobs", remedy="name the daemon's file with -c")

    async def opened() -> Value:
        async with open_jobs(DatabaseLocations.of(configuration).jobs, _STORE) as jobs:
            return await work(jobs)

    with logging_for(voice):
        return run_unless_interrupted(opened())


def _now() -> datetime:
    return datetime.now(UTC)
