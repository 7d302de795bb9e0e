"""A connected socket, with TLS or without, that is waited for without a transport, a task or a copy in between.

asyncio's own TLS passes every byte through two memory buffers; a non-blocking `SSLSocket` decrypts straight into ours.
`loop.sock_*` refuses such sockets, so readiness is waited for here.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

_SCRATCH_BYTES: Final = 64 * 1024
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError)


class Connection:
    """One connection, used by one task at a time; every wait ends at a time of the loop's clock (`TimeoutError`).

    All methods that talk raise `OSError`. *received* are bytes that came and were not taken yet. *has_news*: something
    came while we were sending, or the connection ended. *on_readable* is called whenever something is to be received
    and nobody waits.
    """

    def __init__(self, connected: socket.socket, forget: Callable[["Connection"], None]) -> None:
        self.received = bytearray()
        self.has_input = False
        self.on_readable: Callable[[], None] | None = None
        self.is_used = False
        self._socket = connected
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self._fd = connected.fileno()
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._when_writable: Callable[[], None] | None = None
        self._is_watched = False
        self._crossed = False  # TLS wants to write before it can read.
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed at our end."""
        return self._fd < 0

    async def handshake(self, until: float) -> None:
        """Begin TLS, where it is spoken."""
        while self._tls is not None:
            try:
                return self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._wait(until, writing=False)
            except ssl.SSLWantWriteError:
                await self._wait(until, writing=True)
        return None

    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive into *buffer* and return the number of bytes: 0 at the end, None where nothing is there yet."""
        self._crossed = False
        try:
            return self._socket.recv_into(buffer)
        except _WOULD_BLOCK:
            return None
        except ssl.SSLWantWriteError:
            self._crossed = True
            return None

    async def receive(self, buffer: memoryview, until: float) -> int:
        """Receive into *buffer* what is there, or what comes next, and return the number of bytes; 0 at the end."""
        while (count := self.receive_now(buffer)) is None:
            await self._wait(until, writing=self._crossed)
        if self._tls is not None and count:
            count = self._fill(buffer, count)
        return count

    async def receive_more(self, scratch: memoryview, until: float) -> bool:
        """Add to *received* what comes next; False at the end. *scratch* is free again afterwards."""
        if self._tls is None or not self._tls.pending():
            await self._wait(until, writing=False)  # Right after a request there is nothing yet: do not ask in vain.
        count = await self.receive(scratch, until)
        self.received += scratch[:count]
        return count > 0

    def receive_available(self, scratch: memoryview) -> bool:
        """Add to *received* what has come, without waiting; False at the end."""
        self.has_input = False
        count = self.receive_now(scratch)
        if count is None:
            self.watch()
        elif count:
            self.received += scratch[:count]
            self.watch()
        return count != 0

    def send_now(self, content: bytes | bytearray | memoryview) -> int | None:
        """Send the beginning of *content* and return the number of bytes, None where nothing can be sent yet.

        After None the same bytes, and perhaps more, must be sent next: TLS has packed them already.
        """
        try:
            return self._socket.send(content)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    async def send(self, content: memoryview, until: float) -> memoryview:
        """Send *content* and return what of it is left when the other side begins to talk: mostly nothing."""
        while content:
            sent = self.send_now(content)
            if sent is not None:
                content = content[sent:]
            elif self.has_input:
                break
            else:
                await self._wait(until, writing=True)
        return content

    def probe_idle(self) -> bool:
        """Whether nothing came, not even the end: only then a connection that was idle can serve again."""
        try:
            return not self.received and self.receive_now(memoryview(bytearray(1))) is None
        except OSError:
            return False

    def watch(self) -> None:
        """Notice from now on when something comes: by *has_news*, and by *on_readable* where that is set."""
        if not self._is_watched:
            self._loop.add_reader(self._fd, self._readable)
            self._is_watched = True

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call *callback* once, as soon as something can be sent."""
        self._when_writable = callback
        self._loop.add_writer(self._fd, self._writable)

    def close(self) -> None:
        """Close at once. Whoever waits gets a `ConnectionAbortedError`; TLS is not wound up, which nobody needs."""
        if self._fd < 0:
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
        self._forget(self)

    def _fill(self, buffer: memoryview, count: int) -> int:
        """Receive further records of TLS, which are small, while there are any: one large piece costs less later."""
        try:
            while count < len(buffer):
                more = self.receive_now(buffer[count:])
                if not more:
                    break
                count += more
        except OSError:
            pass  # What came before it is good, and the next call meets the same trouble.
        return count

    async def _wait(self, until: float, *, writing: bool) -> None:
        """Wait until something can be received, or sent where *writing*."""
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
        else:  # Nobody reads at the moment: being told again and again would cost all our time.
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
        # One timer serves all waits of a second or an hour: most of them are over long before, and move only `_until`.
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._waiter.set_exception(TimeoutError())


def new_scratch_buffer() -> memoryview:
    """Return room for what is copied away before anybody else can run, so that all connections can share it."""
    return memoryview(bytearray(_SCRATCH_BYTES))
