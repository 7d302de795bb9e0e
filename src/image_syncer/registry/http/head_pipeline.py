"""HEADs to one origin, several in flight on each of a few connections, answered in order (RFC 9112, 9.3.2).

Only HEADs: their answers have no body, so nothing large holds up what is behind it, and asking twice does no harm. An
origin that can not take it, such as a bad proxy before it, is found out and asked one by one from then on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import Unavailable
from image_syncer.registry.http.connect_errors import explain_overdue
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.exchange import INFORMATIONAL
from image_syncer.registry.http.head import Head, NotHttp, take_head
from image_syncer.registry.http.lanes import BLOCKED_SECONDS, TRUSTED_ANSWERS, choose
from image_syncer.registry.http.pool import IDLE_SECONDS
from image_syncer.registry.settings import Limits

Open = Callable[[], Awaitable[Connection]]

_STALE_SECONDS: Final = 1.0  # A server may end what was idle that long in the very moment in which it is used.


class Unanswered(Exception):
    """The connection ended, or became unusable, before its answer came: the request may be sent again elsewhere."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Whoever waits for an answer, since when, and whether the request was *alone* on its way."""

    answer: asyncio.Future[Head]
    since: float
    alone: bool


class PipelinedConnection:
    """One connection with requests in flight. No task belongs to it: answers are handed out as they arrive.

    *ended* is told once that it is over, and *timed* how long an answer took.
    """

    def __init__(self, pipeline: "HeadPipeline", connection: Connection) -> None:
        self.answered = 0
        self._pipeline = pipeline
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._outgoing = bytearray()
        self._is_flushing = False
        self._informational = 0
        self._heard = self._loop.time()
        self._may_be_stale = connection.is_used
        self._timer: asyncio.TimerHandle | None = None
        connection.on_readable = self._receive
        connection.watch()
        self._watch_time()

    def load(self, now: float) -> int | None:
        """Return how many wait for an answer here, None where the first of them waits for too long."""
        waiting = self._waiting
        return None if waiting and now - max(waiting[0].since, self._heard) > BLOCKED_SECONDS else len(waiting)

    def ask(self, head: bytes) -> asyncio.Future[Head]:
        """Send *head* with whatever else is sent in this turn of the loop; `Unanswered` comes out of the future."""
        answer: asyncio.Future[Head] = self._loop.create_future()
        now = self._loop.time()
        if not self._waiting:
            self._may_be_stale |= now - self._heard > _STALE_SECONDS
            self._heard = now
        self._waiting.append(_Waiting(answer, now, not self._waiting))
        self._outgoing += head
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        return answer

    def end(self, error: Exception | None = None) -> None:
        """Close the connection; who waits gets `Unanswered`, or *error* where it waited too long already."""
        if self._connection.is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()
        overdue = self._loop.time() - self._pipeline.limits.stall_seconds
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(error if error and one.since <= overdue else Unanswered())
                one.answer.exception()  # Marks it as seen: whoever asked may have gone.
        self._pipeline.ended(self, broken=bool(waiting) and not self._may_be_stale)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._connection.is_closed:
            return
        try:
            sent = self._connection.send_now(self._outgoing)
        except OSError:
            self._receive()  # What it said before it hung up comes first.
            self.end()
            return
        del self._outgoing[: sent or 0]
        if self._outgoing:
            self._is_flushing = True
            self._connection.call_when_writable(self._flush)

    def _receive(self) -> None:
        """Take what came, and hand out every answer in it."""
        connection = self._connection
        if connection.is_closed:
            return
        try:
            goes_on = connection.hear(self._pipeline.scratch)
            lasting = self._hand_out(connection.received)
        except (OSError, NotHttp):
            goes_on = lasting = False
        if not goes_on or not lasting or (connection.received and not self._waiting):
            self.end()  # The rest would be an answer to nothing.

    def _hand_out(self, received: bytearray) -> bool:
        """Hand out the answers in *received*; False where the server wants no more on this connection."""
        if received:
            self._heard = self._loop.time()
            self._may_be_stale = False
        while self._waiting and received and (head := take_head(received)) is not None:
            if head.is_informational:
                self._informational += 1
                if self._informational > INFORMATIONAL:
                    raise NotHttp
                continue
            self._informational = 0
            self._answer(head)
            if not head.lasting:
                return False
        return True

    def _answer(self, head: Head) -> None:
        waiting = self._waiting.popleft()
        self.answered += 1
        if waiting.alone:
            self._pipeline.measured(self._heard - waiting.since)
        if not waiting.answer.done():  # Otherwise whoever asked has gone.
            waiting.answer.set_result(head)

    def _watch_time(self) -> None:
        """End the lane where an answer is overdue, or nothing was asked for long; look again when that may be."""
        limits, now = self._pipeline.limits, self._loop.time()
        if self._waiting:
            first = self._waiting[0].since
            due = min(max(first, self._heard) + limits.stall_seconds, first + limits.patience_seconds)
        else:
            due = self._heard + IDLE_SECONDS
        if due > now:
            soon = min(due, now + limits.stall_seconds)
            self._timer = self._loop.call_at(soon, self._watch_time)
        else:
            self._timer = None
            self.end(self._overdue(now))

    def _overdue(self, now: float) -> Unavailable:
        """Return which time the first answer has not kept."""
        host, limits = self._pipeline.host, self._pipeline.limits
        if self._waiting and now >= self._waiting[0].since + limits.patience_seconds:
            return explain_overdue(host, limits.patience_seconds)
        return Unavailable(f"{host}: nothing was sent or received for {limits.stall_seconds:g} s")


class _Slot:
    """A place for a lane; *expected* counts who waits for its connection."""

    def __init__(self) -> None:
        self.lane: PipelinedConnection | None = None
        self.expected = 0

    def load(self, now: float) -> int | None:
        return self.expected if self.lane is None else self.lane.load(now)


class HeadPipeline:
    """The lanes to one origin."""

    def __init__(self, host: str, limits: Limits, scratch: memoryview) -> None:
        self.host = host
        self.limits = limits
        self.scratch = scratch
        self._slots: list[_Slot] = []
        self._opening: SingleFlight[_Slot, PipelinedConnection] = SingleFlight()
        self._round_trip: float | None = None
        self._given_up = False
        self._loop = asyncio.get_running_loop()

    async def ask(self, head: bytes, open_connection: Open) -> Head | None:
        """Return the answer to the HEAD request *head*; None where it is to be asked on a connection of its own.

        Raises what *open_connection* raises, and `Unavailable` where nothing is answered for too long.
        """
        slot = self._choose()
        if slot is None:
            return None
        lane = slot.lane or await self._lane(slot, open_connection)
        if self._given_up or slot.lane is not lane:
            return None
        try:
            return await lane.ask(head)
        except Unanswered:
            return None

    def close(self) -> None:
        """Close every lane."""
        for slot in tuple(self._slots):
            if slot.lane is not None:
                slot.lane.end()

    def measured(self, seconds: float) -> None:
        """Take note of how long an answer took."""
        self._round_trip = seconds if self._round_trip is None else min(self._round_trip, seconds)

    def ended(self, lane: PipelinedConnection, *, broken: bool) -> None:
        """Take *lane* out. Where it left requests unanswered that soon, the origin is not pipelined any more."""
        self._slots = [slot for slot in self._slots if slot.lane is not lane]
        self._given_up |= broken and lane.answered < TRUSTED_ANSWERS

    def _choose(self) -> _Slot | None:
        if self._given_up:
            return None
        now = self._loop.time()
        index = choose([slot.load(now) for slot in self._slots], self._round_trip)
        if index is None:
            return None
        if index == len(self._slots):
            self._slots.append(_Slot())
        return self._slots[index]

    async def _lane(self, slot: _Slot, open_connection: Open) -> PipelinedConnection:
        """Return the lane of *slot*; one of those who want it opens it for all."""

        async def begin() -> PipelinedConnection:
            slot.lane = PipelinedConnection(self, await open_connection())
            return slot.lane

        slot.expected += 1
        try:
            return slot.lane or await self._opening.do(slot, begin)
        finally:
            slot.expected -= 1
            if slot.lane is None and not slot.expected and slot in self._slots:
                self._slots.remove(slot)
