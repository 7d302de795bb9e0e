"""The requests of the demo's runs: a table, and a check of the request budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from image_syncer.testing.request_log import Kind, RequestLog

_FREE: tuple[Kind, ...] = ("ping", "token", "tags")
_SIDES = ("source", "target")


@dataclass(frozen=True, slots=True)
class RunRequests:
    """One run, and the requests at both registries during it."""

    number: int
    copied: int
    unchanged: int
    source: RequestLog
    target: RequestLog

    @property
    def sides(self) -> Sequence[tuple[str, RequestLog]]:
        """Both sides with their names."""
        return tuple(zip(_SIDES, (self.source, self.target), strict=True))


def requests_table(runs: Sequence[RunRequests]) -> Table:
    """Return a table with a row for each run and side."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run")
    table.add_column("side")
    for column in ("copied", "unchanged", "ping/token", "tags", "manifests", "blobs", "uploads"):
        table.add_column(column, justify="right")
    for run in runs:
        for name, log in run.sides:
            counts = (
                run.copied,
                run.unchanged,
                log.count(kind="ping") + log.count(kind="token"),
                log.count(kind="tags"),
                log.count(kind="manifest"),
                log.count(kind="blob"),
                log.count(kind="upload"),
            )
            table.add_row(str(run.number), name, *map(str, counts))
    return table


def budget_problems(first: RunRequests, second: RunRequests) -> list[str]:
    """Return how the two runs exceeded the budget, empty if they did not."""
    return list(_problems(first, second))


def _problems(first: RunRequests, second: RunRequests) -> Iterator[str]:
    if not first.copied or first.unchanged:
        yield f"the first run copied {first.copied} images and skipped {first.unchanged}"
    if second.copied or second.unchanged != first.copied:
        yield f"the second run copied {second.copied} images and skipped {second.unchanged} of {first.copied}"
    for name, log in second.sides:
        asked = [request for request in log if request.kind not in _FREE]
        if len(asked) > second.unchanged:
            yield f"the second run made {len(asked)} requests at the {name} for {second.unchanged} tags"
        if any((request.kind, request.method) != ("manifest", "HEAD") for request in asked):
            yield f"the second run made requests other than HEAD at the {name}"
