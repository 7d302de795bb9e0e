"""Progress on a terminal: one bar, and below it the running copies. It disappears when the run ends."""

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from image_syncer.cli.estimate import RemainingTime, done_fraction, expected_bytes
from image_syncer.cli.formatting import printable, size, whole_duration
from image_syncer.cli.progress import RegistryWaits, Tally, listing_lines
from image_syncer.sync.result import Outcome, RunResult

_SHOWN: Final = 5
_WIDEST_BAR: Final = 24
_NARROWEST_BAR: Final = 6
_GAP: Final = "  "
_FIRST_ESTIMATE_SECONDS: Final = 3.0

Part = tuple[str, str]
"""A text and its style."""


class ProgressBars:
    """Draws a tally on stderr (a `Display`); log lines appear above it."""

    interval = 0.125

    def __init__(self, tally: Tally, waits: RegistryWaits, console: Console | None = None) -> None:
        self._tally = tally
        self._waits = waits
        self._remaining = RemainingTime()
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
        drawing: RenderableType = self._spinner
        if self._tally.total:
            rate = self._tally.sample()
            remaining = self._remaining.update(self._tally, rate)
            drawing = draw(self._tally, rate, remaining, self._live.console.width)
        notes = [*listing_lines(self._tally), *self._waits.lines()]
        self._live.update(Group(drawing, *_noted(notes)), refresh=True)

    def close(self, _result: RunResult | None) -> None:
        """Clear the bar and show the cursor again."""
        self._live.stop()


def draw(tally: Tally, rate: float, remaining: float | None, columns: int) -> RenderableType:
    """Return the drawing of *tally*; *rate* is in bytes per second, *remaining* in seconds."""
    parts = _fitting_parts(tally, rate, remaining, columns - _NARROWEST_BAR - len(_GAP))
    texts = [text for text, _ in parts]
    room = columns - len(_GAP) - len(_GAP.join(texts))
    bar = ProgressBar(
        1.0,
        done_fraction(tally),
        width=max(_NARROWEST_BAR, min(_WIDEST_BAR, room)),
        complete_style="cyan",
        finished_style="cyan",
    )
    row = Table.grid(padding=(0, len(_GAP)))
    row.add_row(bar, Text(_GAP, no_wrap=True, overflow="ellipsis", end="").join(Text(*part) for part in parts))
    return Group(row, *_running(tally))


def _fitting_parts(tally: Tally, rate: float, remaining: float | None, columns: int) -> list[Part]:
    """Return the texts beside the bar. If *columns* are too few, the less important ones are left out."""
    parts = _parts(tally, rate, remaining)
    for dropped in ("mounted", "total", "time"):
        if len(_GAP.join(text for _, (text, _) in parts)) <= columns:
            break
        parts = [(name, part) for name, part in parts if name != dropped]
        if dropped == "total":
            parts = [(name, _moved(tally, rate, with_total=False) if name == "bytes" else part) for name, part in parts]
    return [part for _, part in parts]


def _parts(tally: Tally, rate: float, remaining: float | None) -> list[tuple[str, Part]]:
    failed = tally.counts[Outcome.FAILED]
    shows_time = remaining is not None and tally.elapsed >= _FIRST_ESTIMATE_SECONDS and round(remaining) > 0
    parts: dict[str, Part] = {
        "images": (f"{tally.done}/{tally.total} images", ""),
        "failed": (f"{failed} failed" if failed else "", "red"),
        "time": (f"{whole_duration(remaining or 0)} left" if shows_time else "", "dim"),
        "bytes": _moved(tally, rate, with_total=True),
        "mounted": (f"{size(tally.mounted_bytes)} mounted" if tally.mounted_bytes else "", "dim"),
    }
    return [(name, part) for name, part in parts.items() if part[0]]


def _moved(tally: Tally, rate: float, *, with_total: bool) -> Part:
    if tally.known_bytes <= 0:
        return ("", "")
    expected = expected_bytes(tally)
    sign = "~" if expected > tally.known_bytes else ""
    total = f" of {sign}{size(expected)}" if with_total else ""
    return (f"{size(max(0, tally.moved_bytes))}{total}, {size(rate)}/s", "dim")


def _noted(notes: Sequence[str]) -> list[Text]:
    """Return *notes*, about listings and waits for registries, as lines."""
    lines = [Text.assemble(("  \u2026 ", "yellow"), (printable(note), "yellow")) for note in notes]
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
