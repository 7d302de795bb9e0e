"""The result of a stress test: figures, and broken promises."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

_WIDE = 180
"""Rows are never wrapped: readers with a narrow terminal scroll."""

Figure = int | float | str

Say = Callable[[str], None]
"""Prints progress for people."""


@dataclass(frozen=True, slots=True)
class Report:
    """The *figures* of one test, by name in their order, and its *broken* promises as sentences.

    *rows* are repeated figures: one row for a minute, or for a pair of registries.
    """

    title: str
    figures: Mapping[str, Figure]
    broken: Sequence[str] = ()
    rows: Sequence[Mapping[str, Figure]] = ()

    @property
    def exit_code(self) -> int:
        """0 if every promise was kept, else 1."""
        return 1 if self.broken else 0

    def show(self, console: Console) -> None:
        """Print the figures as a table, with the broken promises below."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(self.title)
        table.add_column("", justify="right")
        for name, figure in self.figures.items():
            table.add_row(name, _text(figure))
        console.print(table)
        if self.rows:
            Console(file=console.file, width=max(console.width, _WIDE), soft_wrap=True).print(self._rows_table())
        for promise in self.broken:
            console.print(f"broken: {promise}", style="red")

    def to_json(self) -> str:
        """Return the same as JSON."""
        rows = {"rows": [dict(row) for row in self.rows]} if self.rows else {}
        return json.dumps(
            {"title": self.title, "figures": dict(self.figures), **rows, "broken": list(self.broken)}, indent=1
        )

    def _rows_table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        names = dict.fromkeys(name for row in self.rows for name in row)
        for name in names:
            words = any(isinstance(row.get(name), str) for row in self.rows)
            table.add_column(name, justify="left" if words else "right")
        for row in self.rows:
            table.add_row(*(_text(row.get(name, "")) for name in names))
        return table


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """Return the value that *percent* of the values do not exceed (nearest rank); 0 for an empty list."""
    if not sorted_values:
        return 0.0
    rank = -(-len(sorted_values) * percent // 100)
    return sorted_values[max(0, int(rank) - 1)]


def _text(figure: Figure) -> str:
    return f"{figure:.2f}" if isinstance(figure, float) else str(figure)
