"""How many bytes of a blob go with one request, and so how far apart its checkpoints are. Pure.

A chunk costs a round trip and, at most registries, a synchronous write to disk; a break loses at most one chunk. So
chunks grow while they are quick, and shrink where connections keep breaking.
"""

from typing import Final, Self

from image_syncer.structs import Struct, replace

LEAST_BYTES: Final = 1024 * 1024
"""Neither breaks nor refusals make chunks smaller than this."""

_GROWTH: Final = 8  # The largest chunk is this many times the usual size.
_QUICK_SECONDS: Final = 4.0
_SLOW_SECONDS: Final = 20.0
_WARY_SECONDS: Final = 600.0  # How long chunks stay small after a break.
_MEASURED_BYTES: Final = 4 * 1024 * 1024  # Below this, bytes still in buffers make the measured distance useless.


class ChunkSize(Struct):
    """The size of the next chunk, in bytes. Times are in seconds on one clock.

    *usual* is the initial size, *most* the permanent bound, and *wary* the bound until *wary_until*, after a break.
    """

    usual: int
    size: int
    most: int
    wary: int
    wary_until: float = float("-inf")

    @classmethod
    def of(cls, usual: int) -> Self:
        """Return the initial size, *usual* bytes."""
        return cls(usual, usual, usual * _GROWTH, usual * _GROWTH)

    @classmethod
    def fixed(cls, size: int) -> Self:
        """Return chunks of at most *size* bytes, which do not grow."""
        return cls(size, size, size, size)

    def at(self, now: float) -> int:
        """Return the size of a chunk that is sent *now*."""
        return min(self.size, self.most, self.wary if now < self.wary_until else self.size)

    def may_exceed(self, now: float) -> bool:
        """Whether a chunk may be somewhat larger: the registry has neither broken off nor refused a chunk."""
        return not self.is_wary(now) and self.most == self.usual * _GROWTH

    def is_wary(self, now: float) -> bool:
        """Whether a session was lost here recently, so that each chunk should use a connection of its own."""
        return now < self.wary_until

    def after_success(self, length: int, seconds: float, now: float) -> Self:
        """Return the size after a chunk of *length* bytes that took *seconds*."""
        if length < self.at(now):
            return self
        if seconds <= _QUICK_SECONDS:
            bound = min(self.most, self.wary if now < self.wary_until else self.most)
            return replace(self, size=max(length, min(2 * length, bound)))
        if seconds >= _SLOW_SECONDS:
            return replace(self, size=max(length // 2, min(length, self.usual // 4, self.most)))
        return self

    def after_break(self, length: int, sent: int, now: float) -> Self:
        """Return the size after a break that lost a chunk of *length* bytes, or more, after *sent* bytes of it.

        If connections break after a certain number of bytes, chunks well below that number get through. It is unknown
        how many of the sent bytes arrived.
        """
        small = sent // 4 if sent >= _MEASURED_BYTES else length // 4
        wary = max(LEAST_BYTES, min(small, self.at(now)))
        return replace(self, size=wary, wary=wary, wary_until=now + _WARY_SECONDS)

    def after_loss(self, now: float) -> Self:
        """Return the size after the registry lost an earlier process's session: a break loses a whole session here."""
        return replace(self, wary=self.at(now), wary_until=now + _WARY_SECONDS)

    def after_413(self, length: int) -> Self:
        """Return the size after a chunk of *length* bytes that was too large."""
        most = max(LEAST_BYTES, length // 2)
        return replace(self, size=min(self.size, most), most=most)
