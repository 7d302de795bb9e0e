"""What we have taken from a broker that has to be asked for each handful, and that bounds nothing by itself."""

import asyncio


class InFlight:
    """Counts the deliveries that we have neither settled nor given back."""

    def __init__(self) -> None:
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def take(self, count: int) -> None:
        """Note that *count* more are in our hand."""
        self._count += count
        if self._count:
            self._empty.clear()

    def put_down(self) -> None:
        """Note that one of them no longer is."""
        self._count -= 1
        if not self._count:
            self._empty.set()

    async def empty(self) -> None:
        """Return once there is none: then the next handful may be asked for."""
        await self._empty.wait()
