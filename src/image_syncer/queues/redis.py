"""Redis streams: a consumer group that must exist, read a handful of entries at a time.

The client is used directly: FastStream's subscriber makes the group, and acknowledges what it could not read.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import Address
from image_syncer.queues.hand import InFlight
from image_syncer.queues.session import BrokerTrouble, QueueSession

_PORT: Final = 6379
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_BLOCK_SECONDS: Final = 2.0
_DEAD_LETTERS: Final = 10_000  # About; the oldest go, since poison is a stranger's and has no end.
_ABANDONED_SECONDS: Final = 60.0
_DATA: Final = b"data"
_ENVELOPE: Final = b"__data__"
_ENVELOPE_MAGIC: Final = b"\x89BIN\r\n\x1a\n"
_ENVELOPE_START: Final = slice(14, 18)

Entry = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class _Group:
    """A consumer group of a stream, and our name in it: a restart on this machine goes on under the same."""

    stream: str
    name: str
    consumer: str

    @property
    def dead_letters(self) -> str:
        """The stream of what nobody can do."""
        return f"{self.stream}.dead"


class RedisDelivery:
    """An entry of a stream."""

    def __init__(self, client: Redis, group: _Group, entry: Entry, hand: InFlight) -> None:
        self._client = client
        self._group = group
        self._id, self._fields = entry
        self._hand = hand

    @property
    def body(self) -> bytes:
        """What it says: its field `data`, what FastStream puts around one, or all of its fields as one JSON object."""
        if _DATA in self._fields:
            return self._fields[_DATA]
        if _ENVELOPE in self._fields:
            return _unwrapped(self._fields[_ENVELOPE])
        fields = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in self._fields.items()}
        return json.dumps(fields).encode()

    async def ack(self) -> None:
        """Settle it: it is done."""
        async with _translated(_ANSWER_SECONDS):
            await self._client.xack(self._group.stream, self._group.name, self._id)
        self._hand.put_down()

    async def give_back(self) -> None:
        """Leave it pending: it is claimed again after a minute, by whoever looks first."""
        self._hand.put_down()

    async def reject(self) -> None:
        """Settle it: it is moved to the stream of the same name that ends in `.dead`."""
        async with _translated(_ANSWER_SECONDS):
            await self._client.xadd(
                self._group.dead_letters, cast("dict[Any, Any]", dict(self._fields)), maxlen=_DEAD_LETTERS
            )
            await self._client.xack(self._group.stream, self._group.name, self._id)
        self._hand.put_down()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and take entries for the group; `BrokerTrouble` if that fails."""
    stream, _, name = settings.queue.rpartition("/")
    group = _Group(stream, name, f"image-syncer-{socket.gethostname()}")
    session = QueueSession()
    address = Address.parse(url, port=_PORT)
    client = Redis(
        host=address.host,
        port=address.port,
        db=int(address.path or 0),
        username=address.user,
        password=address.password,
        ssl=address.scheme == "rediss",
        ssl_ca_certs=address.cafile,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_BLOCK_SECONDS + _ANSWER_SECONDS,
        socket_keepalive=True,
        client_name="image-syncer",
    )
    try:
        async with _translated(2 * _CONNECT_SECONDS):
            await client.xpending(group.stream, group.name)  # It says where the stream or its group is missing.
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(_pump(client, group, session, settings.prefetch))
            yield session
            pump.cancel()
    finally:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.aclose()


async def _pump(client: Redis, group: _Group, session: QueueSession, count: int) -> None:
    hand = InFlight()
    own: bytes | None = b"0"
    while not session.has_ended:
        await hand.empty()
        try:
            if own is not None:
                # What we had taken when the last connection ended, from the first to the last.
                entries = await _read(client, group, count, own)
                own = entries[-1][0] if entries else None
            else:
                entries = await _claimed(client, group, count) or await _read(client, group, count, b">")
            entries = await _without_the_gone(client, group, entries)
        except (RedisError, OSError, TimeoutError) as error:
            session.end(_phrase(error))
            return
        hand.take(len(entries))
        for entry in entries:
            session.deliver(RedisDelivery(client, group, entry, hand))


async def _claimed(client: Redis, group: _Group, count: int) -> Sequence[Entry]:
    """Return what somebody took and has not settled for a minute: he may be dead."""
    idle = int(_ABANDONED_SECONDS * 1000)
    _next, entries, *_gone = await client.xautoclaim(group.stream, group.name, group.consumer, idle, count=count)
    return entries


async def _read(client: Redis, group: _Group, count: int, after: bytes) -> Sequence[Entry]:
    """Return what nobody has taken yet (*after* is `>`), else what is ours behind the entry *after*."""
    block = int(_BLOCK_SECONDS * 1000)
    wanted: Any = {group.stream: after}
    found: Any = await client.xreadgroup(group.name, group.consumer, wanted, count=count, block=block)
    return found[0][1] if found else ()


def _unwrapped(envelope: bytes) -> bytes:
    """Return the body in FastStream's binary *envelope*, which says where that begins; anything else as it is."""
    if not envelope.startswith(_ENVELOPE_MAGIC):
        return envelope
    return envelope[int.from_bytes(envelope[_ENVELOPE_START], "big") :]


async def _without_the_gone(client: Redis, group: _Group, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Settle the entries that were trimmed off the stream while somebody had them, and return the others."""
    gone = [number for number, fields in entries if not fields]
    if gone:
        await client.xack(group.stream, group.name, *gone)
    return [entry for entry in entries if entry[1]]


@asynccontextmanager
async def _translated(seconds: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise BrokerTrouble(_phrase(error)) from error


def _phrase(error: BaseException) -> str:
    """Return what happened, in our words: the library's may hold the address, which has a login in it."""
    match error:
        case AuthenticationError():
            return "it does not take the login"
        case NoPermissionError():
            return "the login may not read the stream"
        case ResponseError() if "NOGROUP" in str(error):
            return "the stream or its group does not exist; neither is ever made here"
        case ResponseError() if "WRONGTYPE" in str(error):
            return "what has the name of the stream is none"
        case TimeoutError() | RedisTimeoutError():
            return "no answer in time"
        case _:
            return f"the connection failed ({type(error).__name__})"
