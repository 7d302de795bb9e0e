"""Whether threads would find a free core."""

from dataclasses import dataclass

import pytest

from image_syncer.registry.http.free_cores import FreeCores, idle_seconds, usable_cores


@dataclass(slots=True)
class Machine:
    """A machine whose figures a test sets: seconds since its start, idle and used core seconds."""

    cores: float = 2.0
    now: float = 0.0
    idle: float | None = 0.0
    used: float = 0.0

    def watch(self) -> FreeCores:
        """Return the watcher of this machine, with a first measurement."""
        watcher = FreeCores(
            usable=lambda: self.cores, idle=lambda: self.idle, used=lambda: self.used, clock=lambda: self.now
        )
        watcher.has_free()
        return watcher

    def advance(self, seconds: float, *, idle: float, used: float) -> None:
        """Let time pass with *idle* idle cores, while we use *used* cores."""
        self.now += seconds
        self.idle = None if self.idle is None else self.idle + idle * seconds
        self.used += used * seconds


@pytest.mark.parametrize(
    ("idle", "used", "free"),
    [
        (1.0, 1.0, True),
        (0.4, 1.0, True),
        (0.1, 1.0, False),  # The registries use the other core.
        (0.0, 1.9, True),  # We use it ourselves: without the threads it would be idle.
        (0.0, 0.5, False),  # Others use both cores.
    ],
)
def test_idle_cores_and_those_that_we_took_are_free(idle: float, used: float, free: bool) -> None:
    """Threads do not switch themselves off by using what was free."""
    machine = Machine()
    watcher = machine.watch()
    machine.advance(1.0, idle=idle, used=used)
    assert watcher.has_free() is free


def test_the_figures_are_read_twice_a_second_at_most() -> None:
    """A decision about each piece must cost nothing."""
    machine = Machine()
    watcher = machine.watch()
    machine.advance(0.4, idle=0.0, used=1.0)
    assert watcher.has_free()
    machine.advance(0.2, idle=0.0, used=1.0)
    assert not watcher.has_free()


@pytest.mark.parametrize(("cores", "free"), [(1.0, False), (1.2, False), (2.0, True)])
def test_a_single_core_is_never_free(cores: float, free: bool) -> None:
    """A container with a quota of 1.2 cores counts as a single core; without figures of idle time, cores decide."""
    machine = Machine(cores=cores, idle=None)
    watcher = machine.watch()
    machine.advance(1.0, idle=0.0, used=0.0)
    assert watcher.has_free() is free


def test_this_machine_has_figures() -> None:
    """The real sources work: on Linux both exist."""
    assert usable_cores() > 0
    idle = idle_seconds()
    assert idle is not None
    assert idle > 0
