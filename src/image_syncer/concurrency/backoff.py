"""Exponential back-off: the wait before the next attempt. Pure."""

from random import Random

from image_syncer.structs import Struct

_MOST_DOUBLINGS = 64  # Keeps the power within a float, whatever number of failures comes in.


def exponential_wait(first: float, longest: float, failures: int) -> float:
    """Return the seconds to wait after *failures* in a row, without jitter: *first*, doubled each time, to *longest*.

    No failure counts as one.
    """
    return min(longest, first * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


class Backoff(Struct):
    """Exponential waits with "equal jitter": half of each wait is fixed, the other half random.

    The fixed half rules out a hot loop, the random half keeps clients from coming back all at once.
    """

    rng: Random
    first: float
    longest: float

    def after(self, failures: int) -> float:
        """Return the seconds to wait after *failures* in a row; 0 and 1 give the same."""
        wait = exponential_wait(self.first, self.longest, failures)
        return self.rng.uniform(wait / 2, wait)
