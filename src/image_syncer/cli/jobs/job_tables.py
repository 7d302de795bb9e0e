"""Jobs as text and as JSON."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from image_syncer.cli.formatting import number, printable, rough_duration
from image_syncer.cli.output import Line
from image_syncer.cli.report import instant_text
from image_syncer.jobs import JobKind, JobRecord, JobStatus, JobStep

_ERROR_SHOWN: Final = 100  # characters in a listing; `jobs show` shows the whole error
_ERROR_ROOM: Final = 30  # with fewer columns left, an error gets its own line
_NARROWEST: Final = 20  # columns; a narrower terminal wraps the lines itself
_ARROW: Final = " \u2192 "
_STEPS_KEPT: Final = 200
_INDENT: Final = 2
_HEADINGS: Final = ("id", "kind", "status", "attempts", "age", "next")
_STYLES: Final = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "superseded": "dim",
    "cancelled": "yellow",
}
_STEPS: Final = {
    "deferred": "queued",
    "deferred_for_retry": "put back into the queue",
    "retried": "queued again",
    "abort_requested": "asked to stop",
    "aborted": "stopped",
}


class ActionResult(StrEnum):
    """Result of a request to retry or cancel a job."""

    QUEUED = "queued"
    MERGED = "merged"  # another job for the same image or rule waits, so this one stays as it is
    CANCELLED = "cancelled"
    STOPPING = "stopping"  # it runs, and stops within a second or so
    REFUSED = "refused"  # its status does not allow it
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JobAction:
    """The *result* of a request for one *job*; *status* is the job's status if it was refused."""

    job: int
    result: ActionResult
    status: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the job is now as the request asks."""
        return self.result not in {ActionResult.REFUSED, ActionResult.UNKNOWN}


@dataclass(frozen=True, slots=True)
class JobListing:
    """A page of *jobs*, the *counts* of all jobs, and whether there may be *more* after this page."""

    jobs: Sequence[JobRecord]
    counts: Mapping[JobStatus, int]
    more: bool

    @property
    def next(self) -> int | None:
        """The value of `--before` for the next page; None after the last one."""
        return self.jobs[-1].id if self.more else None


def terminal_width() -> int | None:
    """Return the columns of the terminal at stdout, None if stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def listing_as_text(listing: JobListing, now: datetime, width: int | None) -> Iterator[Line]:
    """Yield a table and the counts. A job has one line, or several if it does not fit into *width* columns.

    Without *width* each job has one line, for `grep` and the like.
    """
    rows = [_cells(view, now) for view in listing.jobs]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    room = None if width is None else width - _INDENT - sum(widths) - 2 * len(widths)
    stacked = room is not None and any(_needed(view) > room for view in listing.jobs)
    yield Line()
    if rows:
        heading = _joined(_HEADINGS, widths)
        yield Line(((heading if stacked else f"{heading}  what", "dim"),))
    for view, cells in zip(listing.jobs, rows, strict=True):
        fixed = _styled(cells, widths, view)
        if stacked:
            yield Line(fixed)
            yield from _below(view, widths[0] + 2 * _INDENT, width or 0)
        else:
            error = _error(view, None if room is None else room - len(_subject(view)) - 2)
            yield Line((*fixed, (f"  {_subject(view)}", ""), (f"  {error}" if error else "", "red")))
    if rows:
        yield Line()
    yield from _closing(listing)
    yield Line()


def listing_as_json(listing: JobListing) -> dict[str, Any]:
    """Return a page for `json.dumps`; the fields of a job are those of the HTTP API."""
    return {
        "jobs": [_view_as_json(view) for view in listing.jobs],
        "next": listing.next,
        "counts": _counted(listing.counts),
    }


def job_as_text(view: JobRecord, steps: Sequence[JobStep], now: datetime) -> Iterator[Line]:
    """Yield the facts and the steps of one job."""
    yield Line()
    for name, value in _facts(view, now):
        style = {"status": _STYLES.get(view.status.value, ""), "error": "red"}.get(name, "")
        yield Line(((f"{name:<10}", "dim"), (printable(value), style)))
    yield Line()
    yield Line((("steps" if len(steps) < _STEPS_KEPT else f"the last {_STEPS_KEPT} steps", "dim"),))
    for step in steps:
        yield Line(((f"{_utc(step.happened_at)}  ", "dim"), (printable(_STEPS.get(step.what, step.what)), "")), 4)
    yield Line()


def job_as_json(view: JobRecord, steps: Sequence[JobStep]) -> dict[str, Any]:
    """Return one job for `json.dumps`."""
    happened = [{"what": step.what, "at": instant_text(step.happened_at)} for step in steps]
    return {**_view_as_json(view), "steps": happened}


def action_as_text(action: JobAction, command: str) -> str:
    """Return one line about the result of *command* (`retry` or `cancel`) for a job."""
    job = f"job {action.job}"
    texts = {
        ActionResult.QUEUED: f"{job} is queued",
        ActionResult.MERGED: f"{job} was not queued: another job for the same image or rule already waits",
        ActionResult.CANCELLED: f"{job} is cancelled",
        ActionResult.STOPPING: f"{job} is running and will stop",
        ActionResult.UNKNOWN: f"there is no {job}",
        ActionResult.REFUSED: f"{job} is {action.status}: cannot {command} it",
    }
    return texts[action.result]


def actions_as_json(actions: Sequence[JobAction]) -> dict[str, Any]:
    """Return the results for `json.dumps`."""
    return {"jobs": [{"id": each.job, "result": each.result.value, "status": each.status} for each in actions]}


def retried_as_text(actions: Sequence[JobAction]) -> str:
    """Return one line about a retry of all failed jobs."""
    counts = Counter(action.result for action in actions)
    texts = {
        ActionResult.QUEUED: "queued again",
        ActionResult.MERGED: "not queued because others for the same image or rule wait",
        ActionResult.REFUSED: "no longer failed",
    }
    parts = [f"{number(counts[result], 'job')} {text}" for result, text in texts.items() if counts[result]]
    return ", ".join(parts) or "no job has failed"


def _cells(view: JobRecord, now: datetime) -> tuple[str, ...]:
    age = rough_duration((now - view.created_at).total_seconds())
    return (str(view.id), view.kind, _status(view), str(view.attempts), age, _next(view, now))


def _status(view: JobRecord) -> str:
    if view.stopping:
        return "stopping"
    # The job of a rule succeeds once it is planned; its copies are jobs with outcomes of their own.
    is_planned = view.kind == JobKind.RULE.value and view.status is JobStatus.SUCCEEDED
    return "planned" if is_planned else view.status.value


def _next(view: JobRecord, now: datetime) -> str:
    if view.status is not JobStatus.WAITING:
        return "-"
    seconds = 0.0 if view.next_at is None else (view.next_at - now).total_seconds()
    return f"in {rough_duration(seconds)}" if seconds > 0 else "now"


def _subject(view: JobRecord) -> str:
    source, target, rule = (view.args.get(name) for name in ("source", "target", "rule"))
    return printable(f"{source}{_ARROW}{target}" if source and target else rule or "")


def _error(view: JobRecord, room: int | None) -> str:
    """Return the start of the last error, "" without one or after success."""
    if view.last_error is None or view.status is JobStatus.SUCCEEDED:
        return ""
    text, longest = printable(view.last_error), _ERROR_SHOWN if room is None else room
    return text if len(text) <= longest else f"{text[: max(0, longest - 4)]} ..."


def _needed(view: JobRecord) -> int:
    error = _error(view, None)
    return len(_subject(view)) + (2 + min(len(error), _ERROR_ROOM) if error else 0)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return *cells* in columns, with numbers aligned to the right."""
    numbers = {0, _HEADINGS.index("attempts")}
    return "  ".join(
        f"{cell:>{width}}" if column in numbers else f"{cell:<{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _styled(cells: Sequence[str], widths: Sequence[int], view: JobRecord) -> tuple[tuple[str, str], ...]:
    text, status = _joined(cells, widths), _status(view)
    begin = sum(widths[:2]) + 4
    end = begin + len(status)
    return ((text[:begin], ""), (text[begin:end], _STYLES.get(view.status.value, "")), (text[end:], ""))


def _below(view: JobRecord, indent: int, width: int) -> Iterator[Line]:
    """Yield source, target and error of a job; the target gets its own line if both do not fit in one."""
    room = max(_NARROWEST, width - indent)
    subject, error = _subject(view), _error(view, room)
    source, arrow, target = subject.partition(_ARROW)
    parts = (source, f"{_ARROW.lstrip()}{target}") if arrow and len(subject) > room else (subject,)
    for part in parts:
        # Cut here: a terminal would wrap at a space and leave the arrow alone.
        yield from (Line(((part[begin : begin + room], ""),), indent) for begin in range(0, len(part), room))
    if error:
        yield Line(((error, "red"),), indent)


def _closing(listing: JobListing) -> Iterator[Line]:
    if not listing.jobs:
        yield Line((("no matching jobs" if sum(listing.counts.values()) else "no jobs", ""),))
    if listing.next is not None:
        yield Line(((f"older jobs: --before {listing.next}", "dim"),))
    counted = [f"{count} {name}" for name, count in _counted(listing.counts).items() if count]
    if counted:
        yield Line(((f"total: {', '.join(counted)}", "dim"),))


def _counted(counts: Mapping[JobStatus, int]) -> dict[str, int]:
    return {status.value: count for status, count in counts.items()}


def _facts(view: JobRecord, now: datetime) -> Iterator[tuple[str, str]]:
    yield "job", f"{view.id}, {view.kind}"
    yield "status", f"{view.status.value}, asked to stop" if view.stopping else view.status.value
    for name in ("source", "target", "digest", "rule", "event"):
        if name in view.args:
            yield name, view.args[name]
    yield "priority", str(view.priority)
    yield "attempts", str(view.attempts)
    yield "created", _ago(view.created_at, now)
    if view.status is JobStatus.WAITING:
        yield "next", "now" if view.next_at is None else f"{_utc(view.next_at)}, {_next(view, now)}"
    else:
        yield "since" if view.status is JobStatus.RUNNING else "ended", _ago(view.changed_at, now)
    if view.last_error is not None:
        yield "error", view.last_error


def _view_as_json(view: JobRecord) -> dict[str, Any]:
    over = view.status not in {JobStatus.WAITING, JobStatus.RUNNING}
    return {
        "id": view.id,
        "kind": view.kind,
        "status": view.status.value,
        "stopping": view.stopping,
        **{name: view.args.get(name) for name in ("rule", "source", "target", "digest", "event")},
        "priority": view.priority,
        "attempts": view.attempts,
        "created_at": instant_text(view.created_at),
        "next_at": None if view.next_at is None else instant_text(view.next_at),
        "finished_at": instant_text(view.changed_at) if over else None,
        "error": view.last_error,
    }


def _ago(instant: datetime, now: datetime) -> str:
    return f"{_utc(instant)}, {rough_duration((now - instant).total_seconds())} ago"


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
