"""How many large blobs are read from a registry at once: as many as make the transfer faster, up to a limit. Pure.

A registry or a line may carry more in several connections than in a few, and nothing but a trial shows that. A trial
adds transfers for a moment. If the bytes per second rise, they stay and the next trial follows; otherwise they go
again, and the next trial waits.
"""

from typing import Final, NamedTuple, Self, TypeVar

from image_syncer.structs import Struct, replace

NEAR_TRANSFERS: Final = 5
"""Transfers to begin with where round trips are short: more would only compete for the processor."""

_INTERVAL_SECONDS: Final = 0.5
_SHARE: Final = 0.3  # Of what the added transfers would carry if nothing limited them.
_FIRST_PAUSE_SECONDS: Final = 4.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


Probe = TypeVar("Probe", bound="TransferProbe")


class TransferRange(NamedTuple):
    """The number of transfers to begin with, and the most that are allowed."""

    start: int
    most: int


def transfers_between(most: int, *, is_far: bool) -> TransferRange:
    """Return the range up to *most*: it begins at the end for a far registry, where one connection carries little."""
    return TransferRange(most if is_far else min(most, NEAR_TRANSFERS), most)


class TransferProbe(Struct):
    """The number of transfers allowed now is *value*; *since* is the beginning of the interval that is measured.

    *rate* is the throughput in bytes per second before the running trial, None without a trial, and *before* the number
    of transfers then. The next trial begins at *next_at*; *pause* is the wait after a trial that gained nothing.
    """

    most: int
    value: int
    since: float
    moved_bytes: int = 0
    rate: float | None = None
    before: int = 0
    next_at: float = 0.0
    pause: float = _FIRST_PAUSE_SECONDS

    @classmethod
    def begin(cls, transfers: TransferRange, now: float) -> Self:
        """Return the state at the first transfer."""
        most = max(1, transfers.most)
        return cls(most, min(max(1, transfers.start), most), now)

    def raised(self, start: int) -> Self:
        """Return the state with at least *start* transfers: another registry of the transfer is far."""
        value = min(max(self.value, start), self.most)
        return self if value == self.value else replace(self, value=value, rate=None)

    def after(self, moved_bytes: int, now: float, *, has_waiting: bool) -> Self:
        """Return the state after *moved_bytes* more. *has_waiting*: a transfer waits, so more would run if allowed."""
        moved = self.moved_bytes + moved_bytes
        seconds = now - self.since
        if seconds < _INTERVAL_SECONDS:
            return replace(self, moved_bytes=moved)
        measured = replace(self, since=now, moved_bytes=0)
        if not has_waiting:  # The interval was not used in full, so it says nothing.
            return replace(measured, rate=None)
        return _judge(measured, moved / seconds, now)


def _judge(probe: Probe, rate: float, now: float) -> Probe:
    """Return *probe* after an interval with *rate*: keep or undo the running trial, or begin one."""
    if probe.rate is None:
        return _begin_trial(probe, rate) if now >= probe.next_at else probe
    if rate >= probe.rate * (1 + _SHARE * (probe.value / probe.before - 1)):
        return _begin_trial(replace(probe, rate=None, pause=_FIRST_PAUSE_SECONDS), rate)
    pause = min(_LONGEST_PAUSE_SECONDS, 2 * probe.pause)
    return replace(probe, value=probe.before, rate=None, next_at=now + probe.pause, pause=pause)


def _begin_trial(probe: Probe, rate: float) -> Probe:
    value = min(probe.most, probe.value + max(1, probe.value // 2))
    return probe if value == probe.value else replace(probe, value=value, before=probe.value, rate=rate)
