import io
from typing import Any

import pytest
from rich.console import Console

from image_syncer.cli.bars import Bars, draw
from image_syncer.cli.progress import Tally, Waits
from image_syncer.oci import Reference
from image_syncer.registry.observer import Wait
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome

MIB = 1024 * 1024


def drawn(tally: Tally, *, width: int = 100) -> str:
    """Return what is drawn for *tally* on a terminal of *width* columns, while 1 MiB moves in a second."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(draw(tally, MIB))
    return captured.get()


def start(tally: Tally, name: str) -> None:
    """Let the copy of *name* run."""
    source = Reference.parse(f"docker.io/library/{name}")
    tally.started(Copy(name, source, Reference.parse(f"registry.example.com/mirror/{name}")))


@pytest.fixture
def tally() -> Tally:
    """Return a tally whose clock goes on by two seconds with each look at it."""
    ticks = iter(range(0, 10_000, 2))
    return Tally(lambda: float(next(ticks)))


def test_at_first_it_says_what_it_waits_for(tally: Tally) -> None:
    """Before the tags are known there is nothing to count."""
    screen = io.StringIO()
    bars = Bars(tally, Waits(tally.clock), Console(file=screen, width=60, force_terminal=True, color_system=None))
    bars.tick()
    bars.close(None)
    assert "Looking at the registries" in screen.getvalue()


def test_it_counts_images_and_bytes_and_names_what_runs(tally: Tally, result: Any) -> None:
    """One bar, and a line for each image that is being copied."""
    tally.selected(120)
    tally.found(3 * MIB)
    tally.moved(MIB)
    start(tally, "nginx:1.27")
    tally.finished(result("a:1"))
    tally.finished(result("b:1", Outcome.FAILED))
    shown = drawn(tally)
    assert "2/120 images" in shown
    assert "1.0 MiB of 3.0 MiB, 1.0 MiB/s" in shown
    assert " left" in shown
    assert "1 failed" in shown
    assert "docker.io/library/nginx:1.27 → registry.example.com/mirror/nginx:1.27" in shown


def test_it_stays_small_however_much_runs(tally: Tally) -> None:
    """Five images are named, the others counted; no line is wider than the terminal."""
    tally.selected(500)
    tally.found(500 * MIB)
    for number in range(40):
        start(tally, f"{'long-name-' * 20}{number}:1")
    lines = drawn(tally, width=60).splitlines()
    assert len(lines) == 7
    assert "and 35 more" in lines[-1]
    assert max(map(len, lines)) <= 60


def test_it_leaves_the_terminal_as_it_was() -> None:
    """The cursor is shown again, also when it is closed twice."""
    screen = io.StringIO()
    bars = Bars(Tally(lambda: 0.0), Waits(lambda: 0.0), Console(file=screen, width=60, force_terminal=True))
    bars.tick()
    bars.close(None)
    bars.close(None)
    assert screen.getvalue().rfind("\x1b[?25h") > screen.getvalue().rfind("\x1b[?25l")


def test_it_shows_who_makes_us_wait(tally: Tally) -> None:
    """Below the bar, with what is left of it, and no terminal is steered by a reason."""
    screen = io.StringIO()
    waits = Waits(lambda: 0.0)
    bars = Bars(tally, waits, Console(file=screen, width=100, force_terminal=True, color_system=None))
    waits.on_wait(Wait("docker.io", 840, "quota used up (100 per 6 h)\x1b[2J"))
    bars.tick()
    bars.close(None)
    assert "docker.io: quota used up (100 per 6 h)\\x1b[2J, next request in 14 min 00 s" in screen.getvalue()
