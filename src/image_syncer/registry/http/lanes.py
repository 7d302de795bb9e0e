"""Which connection carries the next HEAD. Pure: a decision over how many wait where."""

from collections.abc import Sequence
from typing import Final

FAR_SECONDS: Final = 0.02
"""A round trip longer than this makes an origin far: depth costs more there than connections."""

BLOCKED_SECONDS: Final = 0.25
"""A connection whose first answer is this late gets nothing more to carry, since an answer holds up all behind it."""

TRUSTED_ANSWERS: Final = 64
"""So many answers show that an origin can take requests ahead of its answers."""

_NEAR: Final = (4, 16)  # Connections, and requests in flight on each.
_FAR: Final = (16, 4)


def choose(waiting: Sequence[int | None], round_trip: float | None) -> int | None:
    """Return the index of the connection to take; one beyond the last means a further one, None that all are full.

    *waiting* is the number of unanswered requests on each, None for one that is blocked. *round_trip* in seconds is the
    shortest that was measured, since a longer one may have stood in a queue; None while there is none. A connection
    without work is taken first, then a further one is opened, then the one with the least work is taken. Near origins
    get few connections with many requests on each: that costs both sides the fewest system calls.
    """
    far = round_trip is not None and round_trip > FAR_SECONDS
    connections, depth = _FAR if far else _NEAR
    free = [(count, index) for index, count in enumerate(waiting) if count is not None and count < depth]
    least = min(free, default=None)
    if least is not None and least[0] == 0:
        return least[1]
    if len(waiting) < (_FAR[0] if None in waiting else connections):
        return len(waiting)
    return None if least is None else least[1]
