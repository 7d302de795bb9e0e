"""Progress: a tally of what the observer is told, and plain lines for where no terminal is watching."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from image_syncer.cli.formatting import size, whole_duration
from image_syncer.registry.observer import RegistryObserver, Wait
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult, Observer, Outcome, RunResult

_WINDOW_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_SIGN_OF_LIFE_SECONDS = 60.0
_RULE_STEP = "list tags"  # The step at which a rule fails as a whole, before its images are known.

Ends = tuple[str, str]


@dataclass(slots=True)
class Tally:
    """What is known about a run at any moment (an `Observer`). *clock* gives seconds that only grow."""

    clock: Callable[[], float]
    selected_count: int = 0
    known_bytes: int = 0
    moved_bytes: int = 0
    active: dict[Ends, float] = field(default_factory=dict[Ends, float])
    """What is being copied right now, and since when."""
    _outcomes: dict[Ends, Outcome] = field(default_factory=dict[Ends, Outcome])
    _failed_rules: dict[str, set[Ends]] = field(default_factory=dict[str, set[Ends]])
    _samples: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def selected(self, count: int) -> None:
        """Count *count* more copies."""
        self.selected_count += count

    def started(self, copy: Copy) -> None:
        """Note that *copy* is running."""
        self.active[str(copy.source), str(copy.target)] = self.clock()

    def found(self, size_bytes: int) -> None:
        """Count bytes that have to be moved."""
        self.known_bytes += size_bytes

    def moved(self, size_bytes: int) -> None:
        """Count bytes that were moved."""
        self.moved_bytes += size_bytes

    def finished(self, result: CopyResult) -> None:
        """Note the end of a copy; a later result replaces an earlier one, and that of a whole rule."""
        ends = (result.source, result.target)
        self.active.pop(ends, None)
        if result.outcome is Outcome.FAILED and result.step == _RULE_STEP:
            self._failed_rules.setdefault(result.rule, set()).add(ends)
        else:  # The rule has images after all: its tags were listed at a later try.
            for failed in self._failed_rules.pop(result.rule, ()):
                self._outcomes.pop(failed, None)
        self._outcomes[ends] = result.outcome

    @property
    def counts(self) -> Counter[Outcome]:
        """How many copies have ended how."""
        return Counter(self._outcomes.values())

    @property
    def done(self) -> int:
        """How many copies have ended."""
        return len(self._outcomes)

    @property
    def total(self) -> int:
        """How many copies are known to be wanted."""
        return max(self.selected_count, self.done)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._began

    @property
    def mean_rate(self) -> float:
        """Bytes per second since the start."""
        return max(0, self.moved_bytes) / max(self.elapsed, 0.001)

    def sample(self) -> float:
        """Return bytes per second over the last 10 seconds; call it regularly."""
        now = self.clock()
        self._samples.append((now, self.moved_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_SECONDS:  # noqa: PLR2004 - two ends
            self._samples.popleft()
        first_time, first_bytes = self._samples[0]
        return max(0.0, (self.moved_bytes - first_bytes) / max(now - first_time, 0.001))


class Waits:
    """Which registries make us wait now, until when and why (a `Watcher`). *say* gets a line when a wait begins."""

    def __init__(self, clock: Callable[[], float], say: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._say = say
        self._waits: dict[str, tuple[float, str]] = {}

    def on_wait(self, wait: Wait) -> None:
        """Note that a registry makes us wait."""
        self._waits[wait.registry] = self._clock() + wait.seconds, wait.reason
        self._say(_wait_line(wait.registry, wait.reason, wait.seconds))

    def on_resume(self, registry: str) -> None:
        """Note that *registry* is asked again."""
        if self._waits.pop(registry, None) is not None:
            self._say(f"{registry}: answers again")

    def on_login(self, registry: str, user: str) -> None:
        """Ignore it."""

    def lines(self) -> list[str]:
        """Return a line for each registry that makes us wait at this moment, with what is left of it."""
        now = self._clock()
        self._waits = {registry: wait for registry, wait in self._waits.items() if wait[0] > now}
        return [_wait_line(registry, reason, until - now) for registry, (until, reason) in self._waits.items()]


def _wait_line(registry: str, reason: str, seconds: float) -> str:
    return f"{registry}: {reason}, next request in {whole_duration(max(1.0, seconds))}"


class Watchers:
    """Tells several watchers the same (a `Watcher`)."""

    def __init__(self, *watchers: RegistryObserver) -> None:
        self._watchers = watchers

    def on_wait(self, wait: Wait) -> None:
        """Pass it on."""
        for watcher in self._watchers:
            watcher.on_wait(wait)

    def on_resume(self, registry: str) -> None:
        """Pass it on."""
        for watcher in self._watchers:
            watcher.on_resume(registry)

    def on_login(self, registry: str, user: str) -> None:
        """Pass it on."""
        for watcher in self._watchers:
            watcher.on_login(registry, user)


def remaining_seconds(tally: Tally, rate: float) -> float | None:
    """Return how long the rest will take, None while nobody can tell.

    Known bytes at the present *rate*, or the images at the pace so far if that is longer: the sizes of images that have
    not begun are not known yet.
    """
    if not tally.done or tally.done >= tally.total:
        by_images = 0.0 if tally.done else None
    else:
        by_images = tally.elapsed / tally.done * (tally.total - tally.done)
    left_bytes = tally.known_bytes - tally.moved_bytes
    if left_bytes <= 0:
        return by_images
    by_bytes = left_bytes / rate if rate > 0 else None
    return by_bytes if by_images is None or by_bytes is None else max(by_images, by_bytes)


def progress_line(tally: Tally) -> str:
    """Return one line about the run so far, in the words that users of the Go tool search for."""
    counts = tally.counts
    skipped = f"{counts[Outcome.SKIPPED]} skipped, " if counts[Outcome.SKIPPED] else ""
    return (
        f"Now {tally.done}/{tally.total} tasks have been processed ({counts[Outcome.COPIED]} copied, "
        f"{counts[Outcome.UNCHANGED]} unchanged, {skipped}{counts[Outcome.FAILED]} failed; "
        f"{size(max(0, tally.moved_bytes))}, {size(tally.mean_rate)}/s)"
    )


def final_line(result: RunResult) -> str:
    """Return the last line about a run, in the same words."""
    seconds = (result.finished_at - result.started_at).total_seconds()
    return f"Synchronization finished, {result.counts[Outcome.FAILED]} tasks failed, cost {seconds:.2f}s"


class Display(Protocol):
    """Shows a tally to somebody. `tick` is called every *interval* seconds, `close` once or more at the end."""

    interval: float

    def tick(self) -> None:
        """Show how things stand."""
        ...

    def close(self, result: RunResult | None, /) -> None:
        """Show the end (*result* None: there is none) and leave the terminal as it was."""
        ...


class Lines:
    """Plain lines: at first every 2 seconds if something has changed, in a long run less and less often."""

    interval = 0.5

    def __init__(self, tally: Tally, waits: Waits, say: Callable[[str], None]) -> None:
        self._tally = tally
        self._waits = waits
        self._say = say
        self._said_at = 0.0
        self._said: tuple[int, int, int] = (0, 0, 0)

    def tick(self) -> None:
        """Say how things stand, if it is time and there is news."""
        quiet_for = self._tally.elapsed - self._said_at
        pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, self._tally.elapsed / 20))
        if quiet_for < pause or not self._tally.total:
            return
        state = (self._tally.done, self._tally.total, self._tally.moved_bytes)
        if state != self._said or quiet_for >= _SIGN_OF_LIFE_SECONDS:
            self._said, self._said_at = state, self._tally.elapsed
            self._say(progress_line(self._tally))
            for line in self._waits.lines():
                self._say(line)

    def close(self, result: RunResult | None) -> None:
        """Say how it ended."""
        if result is not None:
            self._say(progress_line(self._tally))
            self._say(final_line(result))


class Nothing:
    """Shows nothing."""

    interval = 60.0

    def tick(self) -> None:
        """Show nothing."""

    def close(self, _result: RunResult | None) -> None:
        """Show nothing."""


async def keep_ticking(display: Display) -> None:
    """Call `tick` again and again until cancelled."""
    while True:
        display.tick()
        await asyncio.sleep(display.interval)


class Several:
    """Tells several observers the same (an `Observer`)."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def selected(self, count: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.selected(count)

    def started(self, copy: Copy) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.started(copy)

    def found(self, size_bytes: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.found(size_bytes)

    def moved(self, size_bytes: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.moved(size_bytes)

    def finished(self, result: CopyResult) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.finished(result)
