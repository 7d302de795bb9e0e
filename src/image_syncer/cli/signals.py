"""Running a coroutine under signals: the first asks for an orderly end, the second for one at once."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

import typer

Value = TypeVar("Value")

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_LAST_SECONDS: Final = 10.0  # Within them a second signal ends the program, whatever it is busy with.


class Signals:
    """Watches SIGINT and SIGTERM.

    The first one calls *first*, which begins an orderly end. The second calls *second*, which must end the work at
    once; who can not do that in time is ended where he stands, and so is everybody by a third one, after *last* has put
    the terminal right. Without *second* the second is the end.
    """

    def __init__(
        self, first: Callable[[], None], last: Callable[[], None], second: Callable[[], None] | None = None
    ) -> None:
        self._first = first
        self._second = second
        self._last = last
        self._received: signal.Signals | None = None
        self._watchdog: threading.Timer | None = None

    @property
    def exit_code(self) -> int | None:
        """128 + the number of the signal that came first; None if none came."""
        return None if self._received is None else 128 + self._received

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch, while *loop* runs."""
        for number in _WATCHED:
            loop.add_signal_handler(number, self._ask, loop, number)

    def disarm(self) -> None:
        """Let a second signal end nothing any more: the work is over, and nothing can hang."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _ask(self, loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
        self._received = number
        for watched in _WATCHED:
            loop.remove_signal_handler(watched)
            # Not the loop's: this one must also work while the loop is busy, and after it has closed.
            signal.signal(watched, lambda again, _frame: self._ask_again(loop, again))
        self._first()

    def _ask_again(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        second, self._second = self._second, None
        if second is None:
            self._end(number)
        self._watchdog = threading.Timer(_LAST_SECONDS, self._end, [number])
        self._watchdog.daemon = True
        self._watchdog.start()
        if not loop.is_closed():  # Otherwise the work is done, and what came of it is being written.
            loop.call_soon_threadsafe(second)

    def _end(self, number: int) -> NoReturn:
        self._last()
        os._exit(128 + number)


def run(work: Coroutine[Any, Any, Value], signals: Signals) -> Value:
    """Run *work* and return its value, watching *signals*, whose `first` must bring *work* to its end."""

    async def watched() -> Value:
        signals.watch(asyncio.get_running_loop())
        return await work

    gc.freeze()  # What is imported by now stays: to look for garbage among it again and again costs time.
    return asyncio.run(watched())


def run_unless_interrupted(work: Coroutine[Any, Any, Value]) -> Value:
    """Run *work*, which changes nothing anywhere and can be dropped at any time: the first signal ends the command."""
    running: list[asyncio.Task[Value]] = []

    def drop() -> None:
        for task in running:
            task.cancel()

    async def droppable() -> Value:
        async with asyncio.TaskGroup() as group:
            running.append(group.create_task(work, name="work"))
        return running[0].result()

    signals = Signals(first=drop, last=lambda: None)
    try:
        return run(droppable(), signals)
    except asyncio.CancelledError:
        if signals.exit_code is None:
            raise
        raise typer.Exit(signals.exit_code) from None
