"""Run a coroutine under signals: the first signal asks for an orderly end, the second for an immediate one."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn, TypeVar

from click.exceptions import Exit

Value = TypeVar("Value")

END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DAEMON_END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""For a daemon, SIGHUP means to read its file again."""

_LAST_SECONDS: Final = 10.0
"""Time to end after a second signal; then the process exits, whatever it is busy with."""

_GARBAGE_THRESHOLD: Final = 10_000
"""New objects before the garbage collector searches them: CPython's 700 costs a tenth of the time of many images."""


class Signals:
    """Handler of *numbers*, the signals that end a process. An ignored SIGHUP, as under `nohup`, stays ignored.

    The first signal calls *first*, which begins an orderly end. The second calls *second*, which must end the work at
    once. If the work is still running 10 s later, or a third signal arrives, the process calls *last*, which restores
    the terminal, and exits. Without *second* the second signal exits.
    """

    def __init__(
        self,
        first: Callable[[], None],
        last: Callable[[], None],
        second: Callable[[], None] | None = None,
        numbers: Sequence[signal.Signals] = END_SIGNALS,
    ) -> None:
        self._numbers = numbers
        self._first = first
        self._second = second
        self._last = last
        self._received: signal.Signals | None = None
        self._watchdog: threading.Timer | None = None

    @property
    def exit_code(self) -> int | None:
        """128 + the number of the first signal; None without a signal."""
        return None if self._received is None else 128 + self._received

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle signals while *loop* runs."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._numbers = [number for number in self._numbers if number != signal.SIGHUP]
        for number in self._numbers:
            loop.add_signal_handler(number, self._handle_first, loop, number)

    def disarm(self) -> None:
        """Cancel the exit that a second signal has scheduled: the work is over."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _handle_first(self, loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
        self._received = number
        for watched in self._numbers:
            loop.remove_signal_handler(watched)
            # A plain handler, not the loop's: it also works while the loop is busy, and after the loop has closed.
            signal.signal(watched, lambda again, _frame: self._handle_second(loop, again))
        self._first()

    def _handle_second(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        second, self._second = self._second, None
        if second is None:
            self._exit(number)
        self._watchdog = threading.Timer(_LAST_SECONDS, self._exit, [number])
        self._watchdog.daemon = True
        self._watchdog.start()
        if not loop.is_closed():  # A closed loop means that the work is done and its result is being written.
            loop.call_soon_threadsafe(second)

    def _exit(self, number: int) -> NoReturn:
        self._last()
        os._exit(128 + number)


def run_with_signals(work: Coroutine[Any, Any, Value], signals: Signals) -> Value:
    """Run *work* and return its value, while *signals* handles signals; its `first` must end *work*."""
    gc.freeze()  # Imported modules stay for ever: the garbage collector need not search them again and again.
    gc.set_threshold(_GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    with asyncio.Runner() as runner:
        signals.watch(runner.get_loop())
        return runner.run(work)


def run_unless_interrupted(work: Coroutine[Any, Any, Value]) -> Value:
    """Run *work*, which can be dropped at any time; the first signal cancels it and ends the command."""
    running: list[asyncio.Task[Value]] = []

    def cancel() -> None:
        for task in running:
            task.cancel()

    async def cancellable() -> Value:
        async with asyncio.TaskGroup() as group:
            running.append(group.create_task(work, name="work"))
        return running[0].result()

    signals = Signals(first=cancel, last=lambda: None)
    try:
        return run_with_signals(cancellable(), signals)
    except asyncio.CancelledError:
        if signals.exit_code is None:
            raise
        raise Exit(signals.exit_code) from None
