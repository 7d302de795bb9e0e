"""HTTP pipelining for HEAD requests: several in flight on each of a few connections (RFC 9112, 9.3.2).

Only HEAD is pipelined: its responses have no body that could delay the ones behind it, and it may safely be sent twice.
If an origin cannot cope with pipelining (a broken proxy in front of it, for example), the pipeline notices and the
caller sends one request at a time from then on.

The server answers in the order of the requests, so each connection keeps its pending requests in a queue and hands each
response to the first of them. No task belongs to a connection: the event loop calls `_receive`, and callers wait on
futures. A caller never holds anything that another caller waits for, so callers cannot deadlock.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import Unavailable
from image_syncer.registry.http.connect_errors import explain_overdue
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.exchange import INFORMATIONAL
from image_syncer.registry.http.head import Head, NotHttp, take_head
from image_syncer.registry.http.pool import IDLE_SECONDS
from image_syncer.registry.settings import Limits
from image_syncer.structs import Struct

Open = Callable[[], Awaitable[Connection]]

FAR_SECONDS: Final = 0.02
"""A longer round trip makes an origin far: there, long queues cost more than further connections."""

TRUSTED_RESPONSES: Final = 64
"""This many responses on one connection show that the origin supports pipelining."""

_BLOCKED_SECONDS: Final = 0.25  # A connection whose first response is this late gets no further requests.
_STALE_SECONDS: Final = 1.0  # A server may close a connection that was idle this long just as it is used again.
_NEAR: Final = (4, 16)  # Connections, and requests in flight on each.
_FAR: Final = (16, 4)


def choose_connection(pending: Sequence[int | None], round_trip: float | None) -> int | None:
    """Return the index of the connection to use, `len(pending)` to open another one, or None if all are full.

    *pending* has the number of pending requests of each connection, None for a blocked one. *round_trip* is the
    shortest measured round trip in seconds (a longer one may include time in a queue), None before the first.

    An idle connection comes first, then a new one, then the one with the fewest pending requests. Near origins get few
    connections with many requests each, which needs the fewest system calls at both ends.
    """
    far = round_trip is not None and round_trip > FAR_SECONDS
    connections, depth = _FAR if far else _NEAR
    free = [(count, index) for index, count in enumerate(pending) if count is not None and count < depth]
    least = min(free, default=None)
    if least is not None and least[0] == 0:
        return least[1]
    if len(pending) < (_FAR[0] if None in pending else connections):
        return len(pending)
    return None if least is None else least[1]


class Unanswered(Exception):
    """The connection ended before the response came; the request may be sent again on another connection."""


class _PendingHead(Struct):
    """A request without a response yet: sent at *since*; *alone* if no other request was in flight before it."""

    response: asyncio.Future[Head]
    since: float
    alone: bool


class PipelinedConnection:
    """One connection with HEAD requests in flight. It tells its *pipeline* about round trips and its own end."""

    def __init__(self, pipeline: "HeadPipeline", connection: Connection) -> None:
        self.responses = 0
        self._pipeline = pipeline
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_PendingHead] = deque()
        self._outgoing = bytearray()
        self._is_flushing = False
        self._informational = 0
        self._last_received = self._loop.time()
        self._may_be_stale = connection.is_used
        self._timer: asyncio.TimerHandle | None = None
        connection.on_readable = self._receive
        connection.watch()
        self._check_time()

    def load(self, now: float) -> int | None:
        """Return the number of pending requests, None if the first of them has waited too long."""
        pending = self._pending
        return None if pending and now - max(pending[0].since, self._last_received) > _BLOCKED_SECONDS else len(pending)

    def send(self, head: bytes) -> asyncio.Future[Head]:
        """Queue *head* and return the future of its response, which may raise `Unanswered`.

        All requests of one turn of the event loop go out in one system call.
        """
        response: asyncio.Future[Head] = self._loop.create_future()
        now = self._loop.time()
        if not self._pending:
            self._may_be_stale |= now - self._last_received > _STALE_SECONDS
            self._last_received = now
        self._pending.append(_PendingHead(response, now, not self._pending))
        self._outgoing += head
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        return response

    def detach(self) -> Connection | None:
        """Give the connection up for other requests, if it has no pending ones and is still good; None otherwise."""
        connection = self._connection
        if self._pending or self._is_flushing or connection.is_closed:
            return None
        if self._timer is not None:
            self._timer.cancel()
        connection.on_readable = None
        self._pipeline.remove(self, broken=False)
        if connection.probe_idle():
            connection.is_used = True
            return connection
        connection.close()
        return None

    def close(self, error: Exception | None = None) -> None:
        """Close the connection. Pending requests get `Unanswered`, or *error* if they have waited too long already."""
        if self._connection.is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()
        overdue = self._loop.time() - self._pipeline.limits.stall_seconds
        pending, self._pending = self._pending, deque()
        for request in pending:
            if not request.response.done():
                request.response.set_exception(error if error and request.since <= overdue else Unanswered())
                request.response.exception()  # Marks it as retrieved: the caller may have been cancelled.
        self._pipeline.remove(self, broken=bool(pending) and not self._may_be_stale)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._connection.is_closed:
            return
        try:
            sent = self._connection.send_now(self._outgoing)
        except OSError:
            self._receive()  # Responses that arrived before the connection broke are still good.
            self.close()
            return
        del self._outgoing[: sent or 0]
        if self._outgoing:
            self._is_flushing = True
            self._connection.call_when_writable(self._flush)

    def _receive(self) -> None:
        """Read what has arrived and deliver every complete response."""
        connection = self._connection
        if connection.is_closed:
            return
        try:
            is_open = connection.receive_available(self._pipeline.scratch)
            keep_alive = self._deliver(connection.received)
        except (OSError, NotHttp):
            is_open = keep_alive = False
        if not is_open or not keep_alive or (connection.received and not self._pending):
            self.close()  # What is left to read would be a response without a request.

    def _deliver(self, received: bytearray) -> bool:
        """Deliver the responses in *received*; return False if the server closes the connection after one of them."""
        if received:
            self._last_received = self._loop.time()
            self._may_be_stale = False
        while self._pending and received and (head := take_head(received)) is not None:
            if head.is_informational:
                self._informational += 1
                if self._informational > INFORMATIONAL:
                    raise NotHttp
                continue
            self._informational = 0
            self._deliver_one(head)
            if not head.keep_alive:
                return False
        return True

    def _deliver_one(self, head: Head) -> None:
        request = self._pending.popleft()
        self.responses += 1
        if request.alone:
            self._pipeline.record_round_trip(self._last_received - request.since)
        if not request.response.done():  # Done means that its caller was cancelled.
            request.response.set_result(head)

    def _check_time(self) -> None:
        """Close the connection if a response is overdue or it was idle too long; otherwise check again when due."""
        limits, now = self._pipeline.limits, self._loop.time()
        if self._pending:
            first = self._pending[0].since
            due = min(max(first, self._last_received) + limits.stall_seconds, first + limits.patience_seconds)
        else:
            due = self._last_received + IDLE_SECONDS
        if due > now:
            self._timer = self._loop.call_at(min(due, now + limits.stall_seconds), self._check_time)
        else:
            self._timer = None
            self.close(self._overdue(now))

    def _overdue(self, now: float) -> Unavailable:
        """Return the error for the time limit that the first pending request has exceeded."""
        host, limits = self._pipeline.host, self._pipeline.limits
        if self._pending and now >= self._pending[0].since + limits.patience_seconds:
            return explain_overdue(host, limits.patience_seconds)
        return Unavailable(f"{host}: nothing was sent or received for {limits.stall_seconds:g} s")


class _Slot:
    """Room for one connection; *waiting* counts the callers that wait until it is open."""

    def __init__(self) -> None:
        self.connection: PipelinedConnection | None = None
        self.waiting = 0

    def load(self, now: float) -> int | None:
        return self.waiting if self.connection is None else self.connection.load(now)


class HeadPipeline:
    """The pipelined connections to one origin. *round_trip* is the shortest one in seconds; None before the first."""

    def __init__(self, host: str, limits: Limits, scratch: memoryview) -> None:
        self.host = host
        self.limits = limits
        self.scratch = scratch
        self._slots: list[_Slot] = []
        self._opening: SingleFlight[_Slot, PipelinedConnection] = SingleFlight()
        self.round_trip: float | None = None
        self._given_up = False
        self._loop = asyncio.get_running_loop()

    async def send(self, head: bytes, open_connection: Open) -> Head | None:
        """Return the response to the HEAD request *head*, None if the caller has to send it without pipelining.

        Raises what *open_connection* raises, and `Unavailable` if the response is overdue.
        """
        slot = self._choose()
        if slot is None:
            return None
        connection = slot.connection or await self._connect(slot, open_connection)
        if self._given_up or slot.connection is not connection:
            return None
        try:
            return await connection.send(head)
        except Unanswered:
            return None

    def close(self) -> None:
        """Close every connection."""
        for slot in tuple(self._slots):
            if slot.connection is not None:
                slot.connection.close()

    def close_idle(self) -> bool:
        """Close a connection without pending requests; return False if there is none."""
        now = self._loop.time()
        for slot in self._slots:
            if slot.connection is not None and not slot.waiting and slot.connection.load(now) == 0:
                slot.connection.close()
                return True
        return False

    def take_idle(self) -> Connection | None:
        """Take a connection without pending requests out of the pipeline; None if there is none."""
        now = self._loop.time()
        for slot in tuple(self._slots):
            if slot.connection is not None and not slot.waiting and slot.connection.load(now) == 0:
                connection = slot.connection.detach()
                if connection is not None:
                    return connection
        return None

    def record_round_trip(self, seconds: float) -> None:
        """Keep the shortest round trip."""
        self.round_trip = seconds if self.round_trip is None else min(self.round_trip, seconds)

    def remove(self, connection: PipelinedConnection, *, broken: bool) -> None:
        """Drop a closed *connection*. If it was *broken* before it earned trust, stop pipelining to this origin."""
        self._slots = [slot for slot in self._slots if slot.connection is not connection]
        self._given_up |= broken and connection.responses < TRUSTED_RESPONSES

    def _choose(self) -> _Slot | None:
        if self._given_up:
            return None
        now = self._loop.time()
        index = choose_connection([slot.load(now) for slot in self._slots], self.round_trip)
        if index is None:
            return None
        if index == len(self._slots):
            self._slots.append(_Slot())
        return self._slots[index]

    async def _connect(self, slot: _Slot, open_connection: Open) -> PipelinedConnection:
        """Return the connection of *slot*; the first waiting caller opens it for all."""

        async def connect() -> PipelinedConnection:
            slot.connection = PipelinedConnection(self, await open_connection())
            return slot.connection

        slot.waiting += 1
        try:
            return slot.connection or await self._opening.do(slot, connect)
        finally:
            slot.waiting -= 1
            if slot.connection is None and not slot.waiting and slot in self._slots:
                self._slots.remove(slot)  # Opening failed, and no caller is left to try it again.
