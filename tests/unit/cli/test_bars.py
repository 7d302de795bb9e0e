import io
from typing import Any

import pytest
from rich.console import Console

from image_syncer.cli.bars import ProgressBars, draw
from image_syncer.cli.progress import RegistryWaits, Tally
from image_syncer.oci import Reference
from image_syncer.registry.observer import Wait
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome, Transferred

MIB = 1024 * 1024


def drawn(tally: Tally, *, width: int = 100, remaining: float | None = None) -> str:
    """Return the drawing of *tally* on a terminal of *width* columns at a rate of 1 MiB/s."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(draw(tally, MIB, remaining, width))
    return captured.get()


def start(tally: Tally, name: str) -> None:
    """Start the copy of *name*."""
    source = Reference.parse(f"docker.io/library/{name}")
    tally.started(Copy(name, source, Reference.parse(f"registry.example.com/mirror/{name}")))


@pytest.fixture
def tally() -> Tally:
    """Return a tally whose clock advances by two seconds with each reading."""
    ticks = iter(range(0, 10_000, 2))
    return Tally(lambda: float(next(ticks)))


def test_before_the_tags_are_known_a_spinner_is_shown(tally: Tally) -> None:
    """There is nothing to count yet."""
    screen = io.StringIO()
    bars = ProgressBars(
        tally, RegistryWaits(tally.clock), Console(file=screen, width=60, force_terminal=True, color_system=None)
    )
    bars.tick()
    bars.close(None)
    assert "Reading the registries" in screen.getvalue()


def test_the_bar_counts_images_and_bytes_and_names_running_copies(tally: Tally, result: Any) -> None:
    """Below the bar each running copy has a line."""
    tally.selected(120)
    tally.found(3 * MIB)
    tally.moved(MIB)
    start(tally, "nginx:1.27")
    tally.finished(result("a:1"))
    tally.finished(result("b:1", Outcome.FAILED))
    shown = drawn(tally, remaining=75)
    assert "2/120 images" in shown
    assert "1.0 MiB of ~120.0 MiB, 1.0 MiB/s" in shown
    assert "1 min 15 s left" in shown
    assert "1 failed" in shown
    assert "docker.io/library/nginx:1.27 → registry.example.com/mirror/nginx:1.27" in shown


def test_the_bar_shows_the_moved_bytes(tally: Tally) -> None:
    """A quarter of the only image is a quarter of the bar."""
    tally.selected(1)
    start(tally, "big:1")
    tally.found(400 * MIB)
    tally.moved(100 * MIB)
    assert drawn(tally).partition("0/1 images")[0].count("\u2501") == 6  # of 24 columns


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_rate_is_complete_at_any_width(width: int, result: Any) -> None:
    """A narrow terminal loses mounted bytes, the total and the time before the rate."""
    tally = Tally(iter(range(0, 10_000, 2)).__next__)
    tally.selected(4999)
    start(tally, "nginx:1.27")
    tally.found(1023 * MIB)
    tally.moved(1000 * MIB)
    tally.finished(result("a:1", transferred=Transferred(mounted=1023 * MIB)))
    tally.finished(result("b:1", Outcome.FAILED))
    line, running = drawn(tally, width=width, remaining=3599).splitlines()
    assert len(line.rstrip()) <= width
    assert len(running.rstrip()) <= width
    assert "1.0 MiB/s" in line
    assert "2/4999 images" in line
    assert ("1023.0 MiB mounted" in line) is (width == 140)


def test_the_drawing_is_bounded_with_many_copies(tally: Tally) -> None:
    """It names five copies and counts the others. No line is wider than the terminal."""
    tally.selected(500)
    tally.found(500 * MIB)
    for number in range(40):
        start(tally, f"{'long-name-' * 20}{number}:1")
    lines = drawn(tally, width=60).splitlines()
    assert len(lines) == 7
    assert "and 35 more" in lines[-1]
    assert max(map(len, lines)) <= 60


def test_closing_restores_the_terminal() -> None:
    """The cursor is shown again, even after a second close."""
    screen = io.StringIO()
    bars = ProgressBars(
        Tally(lambda: 0.0), RegistryWaits(lambda: 0.0), Console(file=screen, width=60, force_terminal=True)
    )
    bars.tick()
    bars.close(None)
    bars.close(None)
    assert screen.getvalue().rfind("\x1b[?25h") > screen.getvalue().rfind("\x1b[?25l")


def test_waits_for_registries_are_shown_below_the_bar(tally: Tally) -> None:
    """Each has its remaining time. Control characters in a reason are escaped."""
    screen = io.StringIO()
    waits = RegistryWaits(lambda: 0.0)
    bars = ProgressBars(tally, waits, Console(file=screen, width=100, force_terminal=True, color_system=None))
    waits.on_wait(Wait("docker.io", 840, "quota used up (100 per 6 h)\x1b[2J"))
    bars.tick()
    bars.close(None)
    assert "docker.io: quota used up (100 per 6 h)\\x1b[2J, next request in 14 min 00 s" in screen.getvalue()
