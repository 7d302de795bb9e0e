"""Progress on a terminal: one bar, and below it the running copies. It disappears when the run ends."""

import sys
from itertools import islice

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from image_syncer.cli.formatting import printable, size, whole_duration
from image_syncer.cli.progress import RegistryWaits, Tally, remaining_seconds
from image_syncer.sync.result import Outcome, RunResult

_SHOWN = 5
_BAR_COLUMNS = 24
_FIRST_ESTIMATE_SECONDS = 3.0


class ProgressBars:
    """Draws a tally on stderr (a `Display`); log lines appear above it."""

    interval = 0.125

    def __init__(self, tally: Tally, waits: RegistryWaits, console: Console | None = None) -> None:
        self._tally = tally
        self._waits = waits
        self._spinner = Spinner("dots", Text("Reading the registries", style="dim"), style="cyan")
        self._live = Live(
            self._spinner,
            console=console or Console(file=sys.stderr, highlight=False),
            auto_refresh=False,  # `tick` refreshes it on the event loop, so no other thread reads the tally.
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def tick(self) -> None:
        """Draw the current state."""
        drawing = draw(self._tally, self._tally.sample()) if self._tally.total else self._spinner
        self._live.update(Group(drawing, *_waiting(self._waits)), refresh=True)

    def close(self, _result: RunResult | None) -> None:
        """Clear the bar and show the cursor again."""
        self._live.stop()


def draw(tally: Tally, rate: float) -> RenderableType:
    """Return the drawing of *tally*; *rate* is in bytes per second."""
    row = Table.grid(padding=(0, 2))
    row.add_row(
        ProgressBar(tally.total, tally.done, width=_BAR_COLUMNS, complete_style="cyan", finished_style="cyan"),
        Text(f"{tally.done}/{tally.total} images", no_wrap=True),
        _notes(tally, rate),
    )
    return Group(row, *_running(tally))


def _notes(tally: Tally, rate: float) -> Text:
    """Return the text beside the bar: failures, remaining time, bytes."""
    moved = f"{size(max(0, tally.moved_bytes))} of {size(tally.known_bytes)}, {size(rate)}/s"
    remaining = remaining_seconds(tally, rate) if tally.elapsed >= _FIRST_ESTIMATE_SECONDS else None
    failed = tally.counts[Outcome.FAILED]
    notes = (
        (f"{failed} failed  " if failed else "", "red"),
        (f"{whole_duration(remaining)} left  " if remaining else "", "dim"),
        (moved if tally.known_bytes > 0 else "", "dim"),
    )
    return Text.assemble(*notes, no_wrap=True, overflow="ellipsis")


def _waiting(waits: RegistryWaits) -> list[Text]:
    """Return a line for each wait for a registry."""
    lines = [Text.assemble(("  \u2026 ", "yellow"), (printable(line), "yellow")) for line in waits.lines()]
    for line in lines[:_SHOWN]:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines[:_SHOWN]


def _running(tally: Tally) -> list[Text]:
    now = tally.clock()
    lines = [
        Text.assemble(
            ("  \u2022 ", "cyan"),
            printable(source),
            (" \u2192 ", "dim"),
            printable(target),
            (f"  {whole_duration(now - since)}", "dim"),
        )
        for (source, target), since in islice(tally.active.items(), _SHOWN)
    ]
    if len(tally.active) > _SHOWN:
        lines.append(Text(f"    and {len(tally.active) - _SHOWN} more", style="dim"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines
