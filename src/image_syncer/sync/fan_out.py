"""Reads that several targets share, and the bounds on how long one target waits for the others."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from image_syncer.oci import Digest
from image_syncer.structs import Struct

_LEAST_BASE_SECONDS = 0.1
_MOST_BASE_SECONDS = 0.5
_BYTES_PER_SECOND = 40 * 1024 * 1024
_LONGEST_SIZE_SECONDS = 5.0
_SHARE = 0.25


class FanOut:
    """The target registries of one source image: which of them have decided whether they need a blob.

    It is a latch for each blob, with a bounded wait: a shared read starts once all of them have decided, or without the
    late ones.

    *copies* counts the copies of the image by registry. A registry leaves with its last copy.
    """

    def __init__(self, copies: Iterable[str]) -> None:
        self._copies = Counter(copies)
        self._decided: dict[Digest, set[str]] = {}
        self._change: asyncio.Event | None = None

    def decide(self, registry: str, digest: Digest) -> None:
        """Record that *registry* takes part in the read of *digest* by now, or does not need it."""
        self._decided.setdefault(digest, set()).add(registry)
        self._notify()

    def leave(self, registry: str) -> None:
        """Record that one copy to *registry* has ended."""
        self._copies[registry] -= 1
        if self._copies[registry] <= 0:
            del self._copies[registry]
        self._notify()

    def undecided(self, digest: Digest) -> list[str]:
        """Return the registries that may still need *digest*."""
        decided = self._decided.get(digest, ())
        return [registry for registry in self._copies if registry not in decided]

    async def wait_for_change(self, seconds: float) -> None:
        """Wait for the next decision, for at most *seconds*."""
        self._change = self._change or asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change.wait()

    def _notify(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None


class WaitBudget:
    """Bounds the time that one target spends waiting for others: a base plus a quarter of the elapsed time.

    The base is the time that the target itself needed to its first large blob (*preparation* seconds), from 0.1 s to
    0.5 s: another one that keeps up needs about as long. The loss of a wait is its share of the target's running
    transfers: one of ten that waits costs a tenth of the pace.
    """

    def __init__(self, clock: Callable[[], float], preparation: float = _MOST_BASE_SECONDS) -> None:
        self._clock = clock
        self._base = min(_MOST_BASE_SECONDS, max(_LEAST_BASE_SECONDS, preparation))
        self._began = self._settled = clock()
        self._lost = 0.0
        self._running = 0
        self._waiting = 0

    def add(self, *, running: int = 0, waiting: int = 0) -> None:
        """Change the number of *running* transfers (those that wait included) and of *waiting* ones."""
        now = self._clock()
        if self._running:
            self._lost += (now - self._settled) * self._waiting / self._running
        self._settled = now
        self._running += running
        self._waiting += waiting

    def allows(self, size_bytes: int) -> bool:
        """Whether a blob of *size_bytes* may still wait; a larger one may wait longer, since rereading costs more."""
        self.add()
        size_seconds = min(_LONGEST_SIZE_SECONDS, size_bytes / _BYTES_PER_SECOND)
        return self._lost < self._base + size_seconds + _SHARE * (self._settled - self._began)


class _Lag(Struct, frozen=False):
    """How often a registry *fell* behind, and how many *uploads* it must finish before others wait for it again."""

    fell: int = 0
    uploads: int = 0


class LagTracker:
    """Remembers the target registries that fell behind: others do not wait for them, and they read alone.

    A registry catches up by finishing uploads: one after the first fall, and twice as many after each further one.
    """

    def __init__(self) -> None:
        self._lags: dict[str, _Lag] = {}

    def is_behind(self, registry: str) -> bool:
        """Whether *registry* reads alone."""
        lag = self._lags.get(registry)
        return lag is not None and lag.uploads > 0

    def fall_behind(self, registry: str) -> None:
        """Record that others waited for *registry* for too long."""
        if not self.is_behind(registry):
            lag = self._lags.setdefault(registry, _Lag())
            lag.uploads = 2**lag.fell
            lag.fell += 1

    def finish_upload(self, registry: str) -> None:
        """Record that *registry* received a large blob."""
        if (lag := self._lags.get(registry)) is not None and lag.uploads:
            lag.uploads -= 1

    @property
    def falls(self) -> Mapping[str, int]:
        """How often each registry fell behind."""
        return {registry: lag.fell for registry, lag in self._lags.items()}
