from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_syncer.cli.jobs.actions import failed_jobs, job_filter
from image_syncer.cli.jobs.commands import KINDS, STATUSES
from image_syncer.cli.jobs.job_tables import JobListing, job_as_text, listing_as_text
from image_syncer.jobs import JobFilter, JobKind, JobRecord, JobStatus, JobStep, open_jobs
from image_syncer.structs import replace
from jobs.workbench import Hands, busy, queued, settled, wanted, working

NOW = datetime(2025, 1, 31, 12, tzinfo=UTC)
NGINX = {"source": "docker.io/library/nginx:1.27", "target": "registry.example.com/mirror/library/nginx:1.27"}
COUNTS = dict.fromkeys(JobStatus, 0) | {JobStatus.FAILED: 1, JobStatus.CANCELLED: 5}


def view(**more: object) -> JobRecord:
    """Return a job that failed for good."""
    known = JobRecord(
        id=42,
        kind="copy",
        status=JobStatus.FAILED,
        priority=0,
        attempts=10,
        lock=None,
        args=NGINX,
        created_at=NOW,
        changed_at=NOW,
        next_at=None,
        last_error="target: no " * 30,
        worker=None,
        stopping=False,
    )
    return replace(known, **more)


def listed(*views: JobRecord, width: int | None, more: bool = False) -> list[str]:
    """Return the lines of a listing an hour later."""
    lines = listing_as_text(JobListing(views, COUNTS, more), NOW + timedelta(hours=1), width)
    return [str(line) for line in lines]


def test_the_command_line_has_the_statuses_and_kinds_of_the_queue() -> None:
    """The command line repeats them, so that `--help` does not import the queue."""
    assert {*STATUSES} == {status.value for status in JobStatus}
    assert {*KINDS} == {*JobKind}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """A long job has several lines, and its references are complete."""
    lines = listed(view(), width=width)
    assert [line for line in lines if len(line) > width] == []
    text = "".join(line.strip() for line in lines)
    assert all(reference in text for reference in NGINX.values())


def test_on_a_wide_terminal_a_job_has_one_line() -> None:
    """Its error takes the remaining columns."""
    [line] = [line for line in listed(view(), width=180) if "42" in line]
    assert len(line) == 180
    assert line.endswith(" ...")


def test_the_job_of_a_rule_is_planned_and_never_a_success() -> None:
    """It has planned its copies, which may all fail; a copy that was made has succeeded."""
    rule, copy = (
        "succeeded" in str(line)
        for kind in ("rule", "copy")
        for line in listed(
            view(kind=kind, status=JobStatus.SUCCEEDED, args={"rule": "nginx"}, last_error=None), width=180
        )
        if "42" in line
    )
    assert (rule, copy) == (False, True)


def test_the_counts_are_of_all_jobs_and_the_next_page_is_named() -> None:
    """The counts are those of the queue, not of the page."""
    lines = listed(view(), width=80, more=True)
    assert lines[-3:] == ["  older jobs: --before 42", "  total: 1 failed, 5 cancelled", ""]


def test_a_stopping_job_and_a_waiting_job_show_their_state() -> None:
    """After a success the last error is not shown."""
    running = view(status=JobStatus.RUNNING, stopping=True, last_error=None)
    waiting = view(status=JobStatus.WAITING, next_at=NOW + timedelta(hours=1, seconds=90))
    shown = listed(running, waiting, view(status=JobStatus.SUCCEEDED), width=None)
    assert "  42  copy  stopping         10  1 h  -         docker.io" in shown[2]
    assert "  42  copy  waiting          10  1 h  in 1 min  docker.io" in shown[3]
    assert shown[4].endswith(NGINX["target"])


def test_a_status_selects_its_jobs() -> None:
    """Without a status the filter takes all jobs."""
    assert job_filter(["cancelled"], None, None, 1).statuses == {JobStatus.CANCELLED}
    assert job_filter([], None, 2**64, 1) == JobFilter(before=2**63 - 1, limit=1)


def test_control_characters_in_jobs_are_escaped() -> None:
    """Errors quote registries, and the name of a rule is untrusted, too."""
    hostile = view(args={"rule": "\x1b[2J"}, kind="rule", last_error="\x1b]0;x\x07\nsecond")
    steps = [JobStep("\x1b[1m", NOW)]
    for lines in (listed(hostile, width=80), map(str, job_as_text(hostile, steps, NOW))):
        text = "\n".join(lines)
        assert "\\x1b" in text
        assert not any(part in text for part in ("\x1b", "\x07", "\nsecond"))


async def test_failed_jobs_are_read_page_by_page(tmp_path: Path) -> None:
    """Each job comes once, even while jobs of earlier pages are queued again."""
    async with open_jobs(str(tmp_path / "jobs.db")) as jobs:
        ids = [await queued(jobs, wanted(f"app:{number}")) for number in range(5)]

        async def refuse(_job: object) -> None:
            raise busy()

        async with working(jobs, Hands(refuse)):
            for job in ids:
                await settled(jobs, job, lambda found: found.status is JobStatus.FAILED)
        seen: list[int] = []
        async for job in failed_jobs(jobs, page=2):
            seen.append(job)
            if job != ids[2]:
                await jobs.retry(job)
        assert seen == ids[::-1]
