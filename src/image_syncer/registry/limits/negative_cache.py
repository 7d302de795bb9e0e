"""Where nobody can be talked to for good: no such name, no TLS that is to be trusted. Pure; `host` acts on it.

What fails so fails the same for every image, and is no outage: nobody waits for it to pass. So the first few find it
out, and the others are told what they found.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, Self

from image_syncer.errors import InsecureConnection, StoreError, UnknownHost

_TRUSTED_FAILURES: Final = 2  # One alone may be a moment's mistake of a resolver or a proxy.
_FIRST_SECONDS: Final = 4.0  # A job of the daemon that comes back after its first rests asks anew.
_LONGEST_SECONDS: Final = 60.0

Closed = UnknownHost | InsecureConnection


@dataclass(frozen=True, slots=True)
class NegativeCache:
    """What is known of the way to a registry: the *last* failure of *failures* in a row, believed *until* then.

    From the second one on it is believed for 4 s, and twice as long each time, up to a minute; times are in seconds on
    one clock. *known_at* is when the last one was found.
    """

    last: StoreError | None = None
    failures: int = 0
    until: float = -inf
    known_at: float = -inf

    def after_failure(self, failure: Closed, began: float, now: float) -> Self:
        """Return what is known after *failure*, for which one *began* to look then and which was found *now*.

        Who began before the last one was found saw the same moment, and adds nothing.
        """
        if began < self.known_at:
            return self
        failures = self.failures + 1
        seconds = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures - _TRUSTED_FAILURES, 8))
        return type(self)(failure, failures, now + seconds if failures >= _TRUSTED_FAILURES else -inf, now)

    def closed(self, now: float) -> StoreError | None:
        """Return why nobody need try *now*, None where somebody may."""
        if self.last is None or now >= self.until:
            return None
        last = self.last
        failure = type(last)(last.message, status=last.status, code=last.code, remedy=last.remedy)
        failure.__cause__ = last.__cause__
        return failure
