"""How many bytes of a blob go with one request, and so how far apart its checkpoints are. Pure.

A chunk costs a round trip and, at most registries, a write to a disk that is waited for; what is lost at a break is at
most a chunk. So chunks grow while they take no time worth speaking of, and become small where a line keeps breaking.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

LEAST_BYTES: Final = 1024 * 1024
"""Chunks become no smaller by breaks, nor by refusals."""

_GROWTH: Final = 8  # Times the usual size.
_QUICK_SECONDS: Final = 4.0
_SLOW_SECONDS: Final = 20.0
_WARY_SECONDS: Final = 600.0  # A line that broke is a bad one for so long.
_MEASURED_BYTES: Final = 4 * 1024 * 1024  # What was sent and never arrived makes smaller measures worthless.


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """The size of the next chunk, in bytes. Times are in seconds on one clock.

    *usual* is what one begins with, *most* the bound for all time, and *wary* the bound until *wary_until*, because of
    what broke.
    """

    usual: int
    size: int
    most: int
    wary: int
    wary_until: float = float("-inf")

    @classmethod
    def of(cls, usual: int) -> Self:
        """Return the size to begin with, *usual* bytes."""
        return cls(usual, usual, usual * _GROWTH, usual * _GROWTH)

    def at(self, now: float) -> int:
        """Return how many bytes a chunk may have *now*."""
        return min(self.size, self.most, self.wary if now < self.wary_until else self.size)

    def is_wary(self, now: float) -> bool:
        """Whether sessions were lost here lately, so that each chunk had better have a connection of its own."""
        return now < self.wary_until

    def after_success(self, length: int, seconds: float, now: float) -> Self:
        """Return what follows from a chunk of *length* bytes that took *seconds*."""
        if length < self.at(now):
            return self
        if seconds <= _QUICK_SECONDS:
            bound = min(self.most, self.wary if now < self.wary_until else self.most)
            return replace(self, size=max(length, min(2 * length, bound)))
        if seconds >= _SLOW_SECONDS:
            return replace(self, size=max(length // 2, min(length, self.usual // 4, self.most)))
        return self

    def after_break(self, length: int, sent: int, now: float) -> Self:
        """Return what follows from a break that lost a chunk of *length* bytes, or more, after *sent* bytes of it.

        A line that breaks at regular distances lets a chunk through that is well below the distance; how much of what
        was sent has arrived is not known.
        """
        small = sent // 4 if sent >= _MEASURED_BYTES else length // 4
        wary = max(LEAST_BYTES, min(small, self.at(now)))
        return replace(self, size=wary, wary=wary, wary_until=now + _WARY_SECONDS)

    def after_loss(self, now: float) -> Self:
        """Return what follows from a session that was lost with its process: what breaks off here is lost whole."""
        return replace(self, wary=self.at(now), wary_until=now + _WARY_SECONDS)

    def after_413(self, length: int) -> Self:
        """Return what follows from a chunk of *length* bytes that was too large."""
        most = max(LEAST_BYTES, length // 2)
        return replace(self, size=min(self.size, most), most=most)
