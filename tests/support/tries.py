"""Upper bounds of times on a busy machine."""

import time
from collections.abc import Awaitable, Callable


async def least_seconds(work: Callable[[], Awaitable[object]], *, below: float, tries: int = 10) -> float:
    """Return the shortest time that *work* took; repeat it until that is *below* a bound, at most *tries* times.

    Other processes can only delay it, so the shortest time says what the program itself needs.
    """
    least = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        await work()
        least = min(least, time.perf_counter() - began)
        if least < below:
            break
    return least
