"""Callers of hooks: senders that repeat until they are acknowledged, and a steady stream that does not wait."""

import http.client
import itertools
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Final

_ANSWER_SECONDS: Final = 40.0
"""Longer than any response of the daemon may take, so that silence is noticed."""

_REST_SECONDS: Final = 0.05
_SENDERS_OF_A_STREAM: Final = 48


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: *status* 0 if there was none; *retry_after* empty without the header."""

    status: int
    retry_after: str = ""
    body: bytes = b""

    @property
    def acknowledged(self) -> bool:
        """Whether the caller may forget its message."""
        return self.status in {http.client.OK, http.client.ACCEPTED}


class Caller:
    """A client of one server over a persistent connection; for one thread."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
        self._headers = dict(headers)

    def ask(self, method: str, path: str) -> Answer:
        """Return the response, with status 0 if the server is absent or dies meanwhile."""
        try:
            self._connection.request(method, path, body=b"" if method == "POST" else None, headers=self._headers)
            response = self._connection.getresponse()
            return Answer(response.status, response.headers.get("Retry-After", ""), response.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(0)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def basic(user: str, password: str) -> dict[str, str]:
    """Return the Authorization header of a login."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


Hook = Callable[[int], str]
"""Maps a number to the path that reports its image."""


@dataclass(frozen=True, slots=True)
class Door:
    """The hook's address: the *ports* of one or more daemons, the *method*, the *headers* and the *hook*."""

    ports: Sequence[int]
    method: str
    headers: Mapping[str, str]
    hook: Hook


class Senders:
    """Call the hook for every released number, repeatedly until it is acknowledged.

    Each caller starts with another daemon and switches to the next after a failure. It gives up a number that no daemon
    acknowledges within *patience* seconds.
    """

    def __init__(self, door: Door, patience: float) -> None:
        self.acknowledged: set[int] = set()
        self.given_up: set[int] = set()
        self.calls = 0
        self._door = door
        self._patience = patience
        self._released: SimpleQueue[int | None] = SimpleQueue()
        self._stopped = Event()
        self._counted = itertools.count(1)
        self._wanted = 0

    @property
    def share(self) -> float:
        """The acknowledged share of the released numbers, from 0 to 1."""
        return len(self.acknowledged) / self._wanted if self._wanted else 0.0

    @contextmanager
    def at_work(self, senders: int) -> Generator[None]:
        """Run *senders*; at the end every released number is acknowledged or given up."""
        with ThreadPoolExecutor(senders, thread_name_prefix="sender") as threads:
            working = [threads.submit(self._work, number) for number in range(senders)]
            try:
                yield
            except BaseException:
                self._stopped.set()
                raise
            finally:
                for _ in working:
                    self._released.put(None)
            for each in working:
                each.result()

    def release(self, numbers: Sequence[int]) -> None:
        """Release *numbers* to the callers."""
        self._wanted += len(numbers)
        for number in numbers:
            self._released.put(number)

    def _work(self, first: int) -> None:
        callers = [Caller(port, self._door.headers) for port in self._door.ports]
        turns = itertools.islice(itertools.cycle(callers), first % len(callers), None)
        try:
            while (number := self._released.get()) is not None and not self._stopped.is_set():
                delivered = self._deliver(number, turns)
                (self.acknowledged if delivered else self.given_up).add(number)
        finally:
            for caller in callers:
                caller.close()

    def _deliver(self, number: int, turns: "itertools.islice[Caller]") -> bool:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline and not self._stopped.is_set():
            self.calls = next(self._counted)
            if next(turns).ask(self._door.method, self._door.hook(number)).acknowledged:
                return True
            time.sleep(_REST_SECONDS)
        return False


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a steady stream: its *number*, when it was *due* (since the start), and its duration since then."""

    number: int
    due: float
    seconds: float
    answer: Answer


class SteadyStream:
    """Calls the hook *rate* times a second whatever the responses are, and never twice for one number.

    The duration of a call counts from its due time, so waiting behind a slow response counts too.
    """

    def __init__(self, door: Door, rate: float, count: int) -> None:
        self._door = door
        self._rate = rate
        self._count = count
        self._numbers = itertools.count()
        self._stopped = Event()

    @contextmanager
    def flowing(self, found: list[Call]) -> Generator[None]:
        """Start the stream; after the context, which waits for the last call, *found* has all calls."""
        with ThreadPoolExecutor(_SENDERS_OF_A_STREAM, thread_name_prefix="stream") as threads:
            began = time.monotonic()
            working = [threads.submit(self._work, index, began) for index in range(_SENDERS_OF_A_STREAM)]
            try:
                yield
            except BaseException:
                self._stopped.set()
                raise
            for each in working:
                found.extend(each.result())

    def _work(self, index: int, began: float) -> list[Call]:
        caller = Caller(self._door.ports[index % len(self._door.ports)], self._door.headers)
        calls: list[Call] = []
        try:
            while (number := next(self._numbers)) < self._count:
                due = number / self._rate
                if self._stopped.wait(max(0.0, began + due - time.monotonic())):
                    break
                answer = caller.ask(self._door.method, self._door.hook(number))
                calls.append(Call(number, due, time.monotonic() - began - due, answer))
        finally:
            caller.close()
        return calls
