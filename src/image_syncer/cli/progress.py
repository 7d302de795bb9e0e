"""Progress of a run: a tally of observer events, and plain lines for a stderr that is no terminal."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Protocol

from image_syncer.cli.formatting import size, whole_duration
from image_syncer.registry.observer import RegistryObserver, Wait
from image_syncer.structs import Struct, field
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult, Outcome, RunObserver, RunResult

_WINDOW_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 2.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_HEARTBEAT_SECONDS: Final = 60.0
_RULE_STEPS: Final = frozenset({"list repositories", "list tags"})
"""The steps at which a rule fails as a whole, or one repository of it, before its images are known."""

CopyKey = tuple[str, str]
"""Source and target of a copy."""


class Tally(Struct, frozen=False):
    """The state of a run at any moment (an `Observer`). *clock* returns monotonic seconds."""

    clock: Callable[[], float]
    dry_run: bool = False
    selected_count: int = 0
    known_bytes: int = 0
    moved_bytes: int = 0
    mounted_bytes: int = 0
    active: dict[CopyKey, float] = field(default_factory=dict[CopyKey, float])
    """The running copies, with the time of their start."""
    listing: dict[str, int] = field(default_factory=dict[str, int])
    """The number of repositories listed so far, by registry, while they are being listed."""
    counts: Counter[Outcome] = field(default_factory=Counter[Outcome])
    """Number of finished copies by outcome."""
    _failed: set[CopyKey] = field(default_factory=set[CopyKey])  # Only a failure may get another result, by a retry.
    _failed_rules: dict[str, set[CopyKey]] = field(default_factory=dict[str, set[CopyKey]])
    _samples: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def listed(self, registry: str, count: int) -> None:
        """Note that *count* repositories of *registry* were listed so far."""
        self.listing[registry] = count

    def selected(self, count: int) -> None:
        """Count *count* more copies; the repositories are listed."""
        self.listing.clear()
        self.selected_count += count

    def started(self, copy: Copy) -> None:
        """Note that *copy* is running."""
        self.active[str(copy.source), str(copy.target)] = self.clock()

    def found(self, size_bytes: int) -> None:
        """Count bytes to move."""
        self.known_bytes += size_bytes

    def moved(self, size_bytes: int) -> None:
        """Count moved bytes."""
        self.moved_bytes += size_bytes

    def finished(self, result: CopyResult) -> None:
        """Note the end of a copy. A later result replaces an earlier one, and the failure of its rule as a whole."""
        key = (result.source, result.target)
        self.active.pop(key, None)
        self._forget_failures({key})
        failures = self._failed_rules.get(result.rule, set())
        if result.outcome is Outcome.FAILED and result.step in _RULE_STEPS:
            self._failed_rules[result.rule] = failures | {key}
        elif failures:  # A retry has listed the tags, so the rule as a whole, or this repository, has not failed.
            ended = {failed for failed in failures if failed[0] == result.rule or _is_in(result.source, failed[0])}
            self._failed_rules[result.rule] = failures - ended
            self._forget_failures(ended)
        if result.outcome is Outcome.FAILED:
            self._failed.add(key)
        self.counts[result.outcome] += 1
        self.mounted_bytes += result.transferred.mounted

    def _forget_failures(self, keys: set[CopyKey]) -> None:
        forgotten = self._failed & keys
        if forgotten:
            self._failed -= forgotten
            self.counts -= Counter({Outcome.FAILED: len(forgotten)})  # Without a count of 0 afterwards.

    @property
    def done(self) -> int:
        """Number of finished copies."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Number of copies known so far."""
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


def _is_in(reference: str, repository: str) -> bool:
    return reference.startswith((f"{repository}:", f"{repository}@"))


def listing_lines(tally: Tally) -> list[str]:
    """Return a line for each registry whose repositories are being listed."""
    return [f"{registry}: {count} repositories listed so far" for registry, count in tally.listing.items()]


class RegistryWaits:
    """The waits for registries that are going on (a `RegistryObserver`). *say* gets a line when a wait begins."""

    def __init__(self, clock: Callable[[], float], say: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._say = say
        self._waits: dict[str, tuple[float, str]] = {}

    def on_wait(self, wait: Wait) -> None:
        """Note the begin of a wait."""
        self._waits[wait.registry] = self._clock() + wait.seconds, wait.reason
        self._say(_wait_line(wait.registry, wait.reason, wait.seconds))

    def on_resume(self, registry: str) -> None:
        """Note the end of the wait for *registry*."""
        if self._waits.pop(registry, None) is not None:
            self._say(f"{registry}: answers again")

    def on_warning(self, text: str) -> None:
        """Show the warning as a line."""
        self._say(f"warning: {text}")

    def on_login(self, registry: str, user: str) -> None:
        """Ignore it."""

    def lines(self) -> list[str]:
        """Return a line for each wait that is going on, with the remaining time."""
        now = self._clock()
        self._waits = {registry: wait for registry, wait in self._waits.items() if wait[0] > now}
        return [_wait_line(registry, reason, until - now) for registry, (until, reason) in self._waits.items()]


def _wait_line(registry: str, reason: str, seconds: float) -> str:
    return f"{registry}: {reason}, next request in {whole_duration(max(1.0, seconds))}"


class RegistryObserverGroup:
    """Passes each event on to several registry observers (a `RegistryObserver`)."""

    def __init__(self, *observers: RegistryObserver) -> None:
        self._observers = observers

    def on_wait(self, wait: Wait) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_wait(wait)

    def on_resume(self, registry: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_resume(registry)

    def on_warning(self, text: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_warning(text)

    def on_login(self, registry: str, user: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_login(registry, user)


def progress_line(tally: Tally) -> str:
    """Return one line about the run so far, in the words of the Go tool, which scripts search for."""
    counts = tally.counts
    skipped = f"{counts[Outcome.SKIPPED]} skipped, " if counts[Outcome.SKIPPED] else ""
    if tally.dry_run:
        return (
            f"Now {tally.done}/{tally.total} tasks have been checked ({counts[Outcome.COPIED]} to copy, "
            f"{counts[Outcome.UNCHANGED]} unchanged, {skipped}{counts[Outcome.FAILED]} failed)"
        )
    mounted = f", {size(tally.mounted_bytes)} mounted" if tally.mounted_bytes else ""
    return (
        f"Now {tally.done}/{tally.total} tasks have been processed ({counts[Outcome.COPIED]} copied, "
        f"{counts[Outcome.UNCHANGED]} unchanged, {skipped}{counts[Outcome.FAILED]} failed; "
        f"{size(max(0, tally.moved_bytes))}, {size(tally.mean_rate)}/s{mounted})"
    )


def final_line(result: RunResult) -> str:
    """Return the last line about a run, in the words of the Go tool."""
    seconds = (result.finished_at - result.started_at).total_seconds()
    finished = "Dry run finished" if result.dry_run else "Synchronization finished"
    return f"{finished}, {result.counts[Outcome.FAILED]} tasks failed, cost {seconds:.2f}s"


class Display(Protocol):
    """Shows a tally. The run calls `tick` every *interval* seconds and `close` at least once at the end."""

    interval: float

    def tick(self) -> None:
        """Show the current state."""
        ...

    def close(self, result: RunResult | None, /) -> None:
        """Show the end (*result* None: the run has no result) and restore the terminal."""
        ...


class PlainLines:
    """Plain lines: at first every 2 seconds if anything has changed, in a long run less often."""

    interval = 0.5

    def __init__(self, tally: Tally, waits: RegistryWaits, say: Callable[[str], None]) -> None:
        self._tally = tally
        self._waits = waits
        self._say = say
        self._last_time = 0.0
        self._last_state: tuple[int, int, int] = (0, 0, 0)

    def tick(self) -> None:
        """Print the current state if it is time and something has changed."""
        since_last = self._tally.elapsed - self._last_time
        pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, self._tally.elapsed / 20))
        if since_last < pause:
            return
        if self._tally.listing:
            self._last_time = self._tally.elapsed
            for line in listing_lines(self._tally):
                self._say(line)
        if not self._tally.total:
            return
        state = self._state
        if state != self._last_state or since_last >= _HEARTBEAT_SECONDS:
            self._last_state, self._last_time = state, self._tally.elapsed
            self._say(progress_line(self._tally))
            for line in self._waits.lines():
                self._say(line)

    def close(self, result: RunResult | None) -> None:
        """Print the last two lines."""
        if result is not None:
            if self._state != self._last_state or not self._tally.total:
                self._say(progress_line(self._tally))
            self._say(final_line(result))

    @property
    def _state(self) -> tuple[int, int, int]:
        return (self._tally.done, self._tally.total, self._tally.moved_bytes)


class NoDisplay:
    """A display that shows nothing."""

    interval = 60.0

    def tick(self) -> None:
        """Show nothing."""

    def close(self, _result: RunResult | None) -> None:
        """Show nothing."""


async def refresh(display: Display) -> None:
    """Call `tick` at the interval of *display* until cancelled."""
    while True:
        display.tick()
        await asyncio.sleep(display.interval)


class ObserverGroup:
    """Passes each event on to several observers (an `Observer`)."""

    def __init__(self, *observers: RunObserver) -> None:
        self._observers = observers

    def listed(self, registry: str, count: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.listed(registry, count)

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
