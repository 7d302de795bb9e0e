"""Single flight: of many who want the same thing at once, one fetches it and all get it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """Runs work once per key at a time. A failure is everybody's; nothing is kept afterwards."""

    def __init__(self) -> None:
        self._flights: dict[Key, asyncio.Future[Value]] = {}

    async def do(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Return the result of the flight for *key* that is in the air, or of *work*.

        Who waits does so as long as *work* takes, which is bounded by its own time-outs.
        """
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight])  # Not awaited itself: being cancelled must not cancel it for all others.
            if not flight.cancelled():
                return flight.result()
        flight = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            value = await work()
        except Exception as failure:
            flight.set_exception(failure)
            flight.exception()  # Marks it as seen: nobody need be waiting.
            raise
        else:
            flight.set_result(value)
            return value
        finally:
            flight.cancel()  # Without effect unless we were cancelled; then one of those who wait takes over.
            del self._flights[key]
