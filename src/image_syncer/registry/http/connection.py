"""A connected socket, plain or TLS, used without an asyncio transport and without copies.

asyncio's own TLS copies every byte through two memory buffers; a non-blocking `SSLSocket` decrypts straight into our
buffer. `loop.sock_*` refuses such sockets, so this module waits for readiness itself.
"""

import asyncio
import select
import socket
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from image_syncer.roles import Chunk

if TYPE_CHECKING:
    from image_syncer.registry.http.certificate import ServerCertificate

Inspect = Callable[[Chunk], None]
"""Receives each piece of a body before its consumer does, maybe in a thread; what it raises ends the body."""

_INSPECTED_BYTES: Final = 128 * 1024
_LINGER_SECONDS: Final = 0.02
_SCRATCH_BYTES: Final = 64 * 1024
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError)


class Connection:
    """One connection, used by one task at a time.

    Every wait takes *until*, a time of the loop's clock, and raises `TimeoutError` then; all I/O raises `OSError`.

    *received* holds bytes that arrived and are not consumed yet. *has_input* becomes true when bytes or the end arrive,
    also while a task is sending. *on_readable* is called whenever the socket is readable and no task waits for it.
    *on_close* is called when the connection is closed. *is_used*: the connection has carried a request before.
    """

    def __init__(self, connected: socket.socket, on_close: Callable[["Connection"], None]) -> None:
        self.received = bytearray()
        self.has_input = False
        self.on_readable: Callable[[], None] | None = None
        self.is_used = False
        self._socket = connected
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self._fd = connected.fileno()
        self.on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._when_writable: Callable[[], None] | None = None
        self._is_watched = False
        self._read_needs_write = False  # TLS must send something before it can decrypt more.
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_lent = False
        self._is_interrupted = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self._tls is not None

    @property
    def certificate(self) -> "ServerCertificate | None":
        """The certificate of the server; None without TLS, or if it was not verified."""
        from image_syncer.registry.http.certificate import ServerCertificate  # noqa: PLC0415 - checks alone need it

        return None if self._tls is None else ServerCertificate.of(self._tls)

    async def handshake(self, until: float) -> None:
        """Do the TLS handshake, if this is a TLS connection."""
        while self._tls is not None:
            try:
                return self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._wait(until, writing=False)
            except ssl.SSLWantWriteError:
                await self._wait(until, writing=True)
        return None

    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive into *buffer* without waiting; return the number of bytes, 0 at the end, None if none are there."""
        self._read_needs_write = False
        try:
            return self._socket.recv_into(buffer)
        except _WOULD_BLOCK:
            return None
        except ssl.SSLWantWriteError:
            self._read_needs_write = True
            return None

    async def receive(self, buffer: memoryview, until: float) -> int:
        """Receive into *buffer*, waiting if needed, and return the number of bytes; 0 at the end."""
        while (count := self.receive_now(buffer)) is None:
            await self._wait(until, writing=self._read_needs_write)
        if self._tls is not None and count:
            count = self._fill(buffer, count)
        return count

    async def receive_more(self, scratch: memoryview, until: float) -> bool:
        """Wait for bytes and append them to *received*; return False at the end. *scratch* is free afterwards."""
        if self._tls is None or not self._tls.pending():
            await self._wait(until, writing=False)  # Right after a request a read would fail: save the system call.
        count = await self.receive(scratch, until)
        self.received += scratch[:count]
        return count > 0

    def receive_available(self, scratch: memoryview) -> bool:
        """Append the bytes that have arrived to *received*, without waiting; return False at the end."""
        self.has_input = False
        count = self.receive_now(scratch)
        if count is None:
            self.watch()
        elif count:
            self.received += scratch[:count]
            self.watch()
        return count != 0

    def send_now(self, content: bytes | bytearray | memoryview) -> int | None:
        """Send the beginning of *content* without waiting; return the number of bytes, None if none can be sent yet.

        After None, the next call must begin with the same bytes: TLS has already encrypted them.
        """
        try:
            return self._socket.send(content)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    async def send(self, content: memoryview, until: float) -> memoryview:
        """Send *content*; return the rest that was not sent because the peer began to send (usually empty)."""
        while content:
            sent = self.send_now(content)
            if sent is not None:
                content = content[sent:]
            elif self.has_input:
                break
            else:
                await self._wait(until, writing=True)
        return content

    @contextmanager
    def lent(self) -> Generator[None]:
        """Lend the connection to a job in a thread. `close` takes effect at the end: the job uses the descriptor."""
        self._is_lent = True
        try:
            yield
        finally:
            self._is_lent = False
            if self._is_interrupted:
                self.close()

    def interrupt(self) -> None:
        """End the system calls of a job in a thread, and the use of this connection."""
        self._is_interrupted = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def receive_in_thread(self, buffer: memoryview, inspect: Inspect | None) -> int | None:
        """Fill *buffer* and return the number of bytes; fewer, or None, if the peer is slow. 0 at the end.

        For a job in a thread while the connection is `lent`, without TLS. *inspect* receives the bytes in parts.
        """
        count = inspected = 0
        until = time.monotonic() + _LINGER_SECONDS
        while count < len(buffer) and not self._is_interrupted:
            try:
                more = self.receive_now(buffer[count:])
            except OSError:
                if not count:
                    raise
                break  # The bytes received so far are good, and the next call raises the same error.
            if more is None:
                if not self._poll(until, writing=False):
                    break
                continue
            if not more:
                if not count:
                    return 0
                break
            count += more
            until = time.monotonic() + _LINGER_SECONDS
            if inspect is not None and count - inspected >= _INSPECTED_BYTES:
                inspect(buffer[inspected:count])
                inspected = count
        if inspect is not None and count > inspected:
            inspect(buffer[inspected:count])
        return count or None

    def send_in_thread(self, content: memoryview) -> memoryview:
        """Send *content* and return the rest, because the peer is slow, began to send, or ended the connection.

        For a job in a thread while the connection is `lent`, without TLS.
        """
        until = time.monotonic() + _LINGER_SECONDS
        while content and not self._is_interrupted and not self.has_input:
            try:
                sent = self.send_now(content)
            except OSError:
                break  # The next attempt raises it again, where a response can be looked for.
            if sent is not None:
                content = content[sent:]
                until = time.monotonic() + _LINGER_SECONDS
            elif not self._poll(until, writing=True):
                break
        return content

    def probe_idle(self) -> bool:
        """Read one byte and return whether there was none, nor the end: only then an idle connection can be reused.

        A byte that arrived is lost, so the caller must close the connection then.
        """
        try:
            return not self.received and self.receive_now(memoryview(bytearray(1))) is None
        except OSError:
            return False

    def watch(self) -> None:
        """Set *has_input* and call *on_readable* from now on when bytes or the end arrive."""
        if not self._is_watched:
            self._loop.add_reader(self._fd, self._readable)
            self._is_watched = True

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call *callback* once, as soon as bytes can be sent."""
        self._when_writable = callback
        self._loop.add_writer(self._fd, self._writable)

    def close(self) -> None:
        """Close at once, without a TLS closing alert. A waiting task gets `ConnectionAbortedError`."""
        if self._fd < 0:
            return
        if self._is_lent:
            self.interrupt()
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._fd = -1
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionAbortedError())
        self.on_readable = None
        self._socket.close()
        self.on_close(self)

    def _fill(self, buffer: memoryview, count: int) -> int:
        """Receive more TLS records, which are small, while there are any: consumers do better with one large piece."""
        try:
            while count < len(buffer):
                more = self.receive_now(buffer[count:])
                if not more:
                    break
                count += more
        except OSError:
            pass  # The bytes received so far are good, and the next call raises the same error.
        return count

    def _poll(self, until: float, *, writing: bool) -> bool:
        """Wait in a thread until bytes can be received, or with *writing* sent; return False at *until*."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))

    async def _wait(self, until: float, *, writing: bool) -> None:
        """Wait until bytes can be received, or with *writing* until they can be sent or received."""
        if self._fd < 0:
            raise ConnectionAbortedError
        self.watch()
        if writing:
            self._loop.add_writer(self._fd, self._writable)
        self._waiter = self._loop.create_future()
        self._until = until
        if self._timer is None or self._timer.when() > until:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _readable(self) -> None:
        self.has_input = True
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self.on_readable is not None:
            self.on_readable()
        else:  # No task reads now. Stop watching: the loop would call this again and again.
            self._loop.remove_reader(self._fd)
            self._is_watched = False

    def _writable(self) -> None:
        self._loop.remove_writer(self._fd)
        callback, self._when_writable = self._when_writable, None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if callback is not None:
            callback()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._timed_out)

    def _timed_out(self) -> None:
        # One timer serves many waits: most end long before it fires, and each only moves `_until`.
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._waiter.set_exception(TimeoutError())


def new_scratch_buffer() -> memoryview:
    """Return a buffer that all connections share: its user copies the bytes out before it awaits anything."""
    return memoryview(bytearray(_SCRATCH_BYTES))
