"""Redis streams: an existing consumer group, polled for batches of entries."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import BrokerAddress
from image_syncer.queues.session import InFlight, QueueSession, explain_failure, translated

_PORT: Final = 6379
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_BLOCK_SECONDS: Final = 2.0
_DEAD_LETTERS: Final = 10_000  # Approximately: Redis removes the oldest, since any producer can send poison.
_ABANDONED_SECONDS: Final = 60.0
_DATA: Final = b"data"
# FastStream's binary format: 8 bytes of magic, a version, the offsets of headers and body (4 bytes each), both parts.
_ENVELOPE: Final = b"__data__"
_ENVELOPE_MAGIC: Final = b"\x89BIN\r\n\x1a\n"
_ENVELOPE_BODY_OFFSET: Final = slice(14, 18)

StreamEntry = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class _Group:
    """A consumer group of a stream, and our consumer in it, whose name survives a restart on this machine."""

    stream: str
    name: str
    consumer: str

    @property
    def dead_letters(self) -> str:
        """The stream for poison."""
        return f"{self.stream}.dead"


class RedisDelivery:
    """An entry of a stream."""

    def __init__(self, client: Redis, group: _Group, entry: StreamEntry, in_flight: InFlight) -> None:
        self._client = client
        self._group = group
        self._id, self._fields = entry
        self._in_flight = in_flight

    @property
    def body(self) -> bytes:
        """Its field `data`, the body of a FastStream envelope, or all of its fields as one JSON object."""
        if _DATA in self._fields:
            return self._fields[_DATA]
        if _ENVELOPE in self._fields:
            return _envelope_body(self._fields[_ENVELOPE])
        fields = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in self._fields.items()}
        return json.dumps(fields).encode()

    async def ack(self) -> None:
        """Settle it: done."""
        async with _translated(_ANSWER_SECONDS):
            await self._client.xack(self._group.stream, self._group.name, self._id)
        self._in_flight.remove()

    async def give_back(self) -> None:
        """Leave it pending: the next consumer that looks claims it after a minute."""
        self._in_flight.remove()

    async def reject(self) -> None:
        """Settle it as unusable: move it to the stream `NAME.dead`."""
        async with _translated(_ANSWER_SECONDS):
            await self._client.xadd(
                self._group.dead_letters, cast("dict[Any, Any]", dict(self._fields)), maxlen=_DEAD_LETTERS
            )
            await self._client.xack(self._group.stream, self._group.name, self._id)
        self._in_flight.remove()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and poll the group; `BrokerUnavailable` on failure."""
    stream, _, name = settings.queue.rpartition("/")
    group = _Group(stream, name, f"image-syncer-{socket.gethostname()}")
    session = QueueSession()
    address = BrokerAddress.parse(url, port=_PORT)
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
            await client.xpending(group.stream, group.name)  # Fails if the stream or the group does not exist.
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(_poll(client, group, session, settings.prefetch))
            yield session
            polling.cancel()
    finally:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.aclose()


async def _poll(client: Redis, group: _Group, session: QueueSession, count: int) -> None:
    in_flight = InFlight()
    resume_after: bytes | None = b"0"  # None once our pending entries are read.
    while not session.has_ended:
        await in_flight.wait_until_empty()
        try:
            if resume_after is not None:
                # Entries that were pending for us when the last connection ended.
                entries = await _read(client, group, count, resume_after)
                resume_after = entries[-1][0] if entries else None
            else:
                entries = await _claim_abandoned(client, group, count) or await _read(client, group, count, b">")
            entries = await _ack_trimmed(client, group, entries)
        except (RedisError, OSError, TimeoutError) as error:
            session.end(_explain(error))
            return
        in_flight.add(len(entries))
        for entry in entries:
            session.deliver(RedisDelivery(client, group, entry, in_flight))


async def _claim_abandoned(client: Redis, group: _Group, count: int) -> Sequence[StreamEntry]:
    """Claim and return entries that a consumer has not settled for a minute: it may be dead."""
    idle = int(_ABANDONED_SECONDS * 1000)
    _next, entries, *_deleted = await client.xautoclaim(group.stream, group.name, group.consumer, idle, count=count)
    return entries


async def _read(client: Redis, group: _Group, count: int, after: bytes) -> Sequence[StreamEntry]:
    """Return new entries (*after* is `>`), or our pending entries after the entry *after*."""
    block = int(_BLOCK_SECONDS * 1000)
    wanted: Any = {group.stream: after}
    found: Any = await client.xreadgroup(group.name, group.consumer, wanted, count=count, block=block)
    return found[0][1] if found else ()


def _envelope_body(envelope: bytes) -> bytes:
    """Return the body of a FastStream *envelope*, whose header holds its offset; anything else unchanged."""
    if not envelope.startswith(_ENVELOPE_MAGIC):
        return envelope
    return envelope[int.from_bytes(envelope[_ENVELOPE_BODY_OFFSET], "big") :]


async def _ack_trimmed(client: Redis, group: _Group, entries: Sequence[StreamEntry]) -> Sequence[StreamEntry]:
    """Acknowledge pending entries that the stream has trimmed since, and return the others."""
    trimmed = [entry_id for entry_id, fields in entries if not fields]
    if trimmed:
        await client.xack(group.stream, group.name, *trimmed)
    return [entry for entry in entries if entry[1]]


def _translated(seconds: float) -> AbstractAsyncContextManager[None]:
    return translated(seconds, (RedisError,), _explain)


def _explain(error: BaseException) -> str:
    match error:
        case AuthenticationError():
            return "login refused"
        case NoPermissionError():
            return "the login may not read the stream"
        case ResponseError() if "NOGROUP" in str(error):
            return "the stream or its group does not exist; image-syncer never creates one"
        case ResponseError() if "WRONGTYPE" in str(error):
            return "the key is not a stream"
        case RedisTimeoutError():
            return "timed out"
        case _:
            return explain_failure(error)
