"""Jobs as texts for people and as JSON, from the same facts."""

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
from image_syncer.jobs import JobRecord, JobStatus, JobStep

_ERROR_SHOWN: Final = 100  # characters in a listing; `jobs show` has all of it
_ERROR_ROOM: Final = 30  # columns below which an error gets a line of its own
_NARROWEST: Final = 20  # columns that are used even if the terminal has fewer
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
    "abort_requested": "told to stop",
    "aborted": "stopped",
}


class Result(StrEnum):
    """What became of the wish to retry or to cancel a job."""

    QUEUED = "queued"
    MERGED = "merged"  # another job for the same waits, so nothing was needed
    CANCELLED = "cancelled"
    STOPPING = "stopping"  # it runs, and will be told within a second or so
    REFUSED = "refused"  # its status does not allow it
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the wish for one *job*; *status* is what stood in the way of one that was refused."""

    job: int
    result: Result
    status: str | None = None

    @property
    def done(self) -> bool:
        """Whether things are as they were wanted."""
        return self.result not in {Result.REFUSED, Result.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of *jobs*, the *counts* of all there are, and whether there may be *more* behind the page."""

    jobs: Sequence[JobRecord]
    counts: Mapping[JobStatus, int]
    more: bool

    @property
    def next(self) -> int | None:
        """What `--before` takes for the next page; None after the last one."""
        return self.jobs[-1].id if self.more else None


def terminal_width() -> int | None:
    """Return the columns of the terminal that stdout is, None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def listing_as_text(listing: Listing, now: datetime, width: int | None) -> Iterator[Line]:
    """Yield a table, and the counts. Each job has one line, or three where it does not fit into *width* columns.

    Without a *width* each has one line, for `grep` and the like.
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
            error = _error(view, None if room is None else room - len(_what(view)) - 2)
            yield Line((*fixed, (f"  {_what(view)}", ""), (f"  {error}" if error else "", "red")))
    if rows:
        yield Line()
    yield from _closing(listing)
    yield Line()


def listing_as_json(listing: Listing) -> dict[str, Any]:
    """Return a page as a value for `json.dumps`; its fields are those of the HTTP API."""
    return {
        "jobs": [_view_as_json(view) for view in listing.jobs],
        "next": listing.next,
        "counts": _counted(listing.counts),
    }


def job_as_text(view: JobRecord, steps: Sequence[JobStep], now: datetime) -> Iterator[Line]:
    """Yield all that is known of one job."""
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
    """Return the same as a value for `json.dumps`."""
    happened = [{"what": step.what, "at": instant_text(step.happened_at)} for step in steps]
    return {**_view_as_json(view), "steps": happened}


def answer_as_text(answer: Answer, command: str) -> str:
    """Return one line about what became of a job that *command* (`retry` or `cancel`) was wanted for."""
    job = f"job {answer.job}"
    texts = {
        Result.QUEUED: f"{job} is queued",
        Result.MERGED: f"{job} is not needed: another one for the same waits",
        Result.CANCELLED: f"{job} is cancelled",
        Result.STOPPING: f"{job} runs, and is told to stop",
        Result.UNKNOWN: f"there is no {job}",
        Result.REFUSED: f"{job} is {answer.status}: nothing to {command}",
    }
    return texts[answer.result]


def answers_as_json(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return them as a value for `json.dumps`."""
    return {"jobs": [{"id": each.job, "result": each.result.value, "status": each.status} for each in answers]}


def replayed(answers: Sequence[Answer]) -> str:
    """Return one line about all failed jobs."""
    counts = Counter(answer.result for answer in answers)
    texts = {
        Result.QUEUED: "queued again",
        Result.MERGED: "not needed, since others for the same wait",
        Result.REFUSED: "not failed any more",
    }
    parts = [f"{number(counts[result], 'job')} {text}" for result, text in texts.items() if counts[result]]
    return ", ".join(parts) or "no job has failed"


def _cells(view: JobRecord, now: datetime) -> tuple[str, ...]:
    age = rough_duration((now - view.created_at).total_seconds())
    return (str(view.id), view.kind, _status(view), str(view.attempts), age, _next(view, now))


def _status(view: JobRecord) -> str:
    return "stopping" if view.stopping else view.status.value


def _next(view: JobRecord, now: datetime) -> str:
    if view.status is not JobStatus.WAITING:
        return "-"
    seconds = 0.0 if view.next_at is None else (view.next_at - now).total_seconds()
    return f"in {rough_duration(seconds)}" if seconds > 0 else "now"


def _what(view: JobRecord) -> str:
    source, target, rule = (view.args.get(name) for name in ("source", "target", "rule"))
    return printable(f"{source}{_ARROW}{target}" if source and target else rule or "")


def _error(view: JobRecord, room: int | None) -> str:
    """Return the start of what went wrong last, "" where nothing did or it no longer matters."""
    if view.last_error is None or view.status is JobStatus.SUCCEEDED:
        return ""
    text, longest = printable(view.last_error), _ERROR_SHOWN if room is None else room
    return text if len(text) <= longest else f"{text[: max(0, longest - 4)]} ..."


def _needed(view: JobRecord) -> int:
    error = _error(view, None)
    return len(_what(view)) + (2 + min(len(error), _ERROR_ROOM) if error else 0)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return *cells* in columns: figures to the right."""
    figures = {0, _HEADINGS.index("attempts")}
    return "  ".join(
        f"{cell:>{width}}" if column in figures else f"{cell:<{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _styled(cells: Sequence[str], widths: Sequence[int], view: JobRecord) -> tuple[tuple[str, str], ...]:
    text, status = _joined(cells, widths), _status(view)
    begin = sum(widths[:2]) + 4
    end = begin + len(status)
    return ((text[:begin], ""), (text[begin:end], _STYLES.get(view.status.value, "")), (text[end:], ""))


def _below(view: JobRecord, indent: int, width: int) -> Iterator[Line]:
    """Yield what a job does and its error; the target goes to a line of its own where both ends are too long."""
    room = max(_NARROWEST, width - indent)
    what, error = _what(view), _error(view, room)
    source, arrow, target = what.partition(_ARROW)
    parts = (source, f"{_ARROW.lstrip()}{target}") if arrow and len(what) > room else (what,)
    for part in parts:
        # Cut here: wrapped at a space, the arrow would stand alone.
        yield from (Line(((part[begin : begin + room], ""),), indent) for begin in range(0, len(part), room))
    if error:
        yield Line(((error, "red"),), indent)


def _closing(listing: Listing) -> Iterator[Line]:
    if not listing.jobs:
        yield Line((("no such job" if sum(listing.counts.values()) else "no jobs", ""),))
    if listing.next is not None:
        yield Line(((f"older ones: --before {listing.next}", "dim"),))
    counted = [f"{count} {name}" for name, count in _counted(listing.counts).items() if count]
    if counted:
        yield Line(((f"in all: {', '.join(counted)}", "dim"),))


def _counted(counts: Mapping[JobStatus, int]) -> dict[str, int]:
    return {status.value: count for status, count in counts.items()}


def _facts(view: JobRecord, now: datetime) -> Iterator[tuple[str, str]]:
    yield "job", f"{view.id}, {view.kind}"
    yield "status", f"{view.status.value}, told to stop" if view.stopping else view.status.value
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
