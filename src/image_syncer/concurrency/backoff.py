"""How long to rest before something is tried again: pure."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """A rest of *first* seconds, doubled with each failure up to *longest*, of which the second half is random."""

    rng: Random
    first: float
    longest: float

    def after(self, failures: int) -> float:
        """Return the seconds to rest after *failures* in a row; 0 and 1 are alike."""
        rest = min(self.longest, self.first * 2.0 ** min(max(failures - 1, 0), 64))
        return self.rng.uniform(rest / 2, rest)
