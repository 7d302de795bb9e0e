"""A write-behind buffer in front of a cache backend. A failing backend never fails a run."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack, suppress
from typing import Final, TypeVar

from image_syncer.cache.backend import (
    AttachedTagRecord,
    BlobRecord,
    CacheBackend,
    CacheRecord,
    CreatedRecord,
    FactRecord,
    FilteredRecord,
    LazyBackend,
    ReleaseRecord,
    UploadRecord,
)
from image_syncer.errors import ImageSyncerError
from image_syncer.roles import ConfirmedCopy, ReferrerCheck

GATHER_SECONDS: Final = 1.0
"""How long a record waits for others, to share their transaction."""

MAX_PENDING: Final = 5000
"""How many records wait at most; beyond that, the oldest are dropped."""

_URGENT_COUNT: Final = 1000  # With so many pending records, the flush starts at once.
_REMEDY: Final = "check its disk, its permissions and who else uses it, or choose another with --state"

T = TypeVar("T")


class WriteBehind:
    """Buffers writes to a backend, and passes queries on. It alone opens the backend, at the first use.

    No method raises. The first failure is reported to *warn*. Then the circuit is open for *rest_seconds*: queries
    return their default and records are dropped, as if there were no backend.
    """

    def __init__(
        self,
        lazy: LazyBackend,
        warn: Callable[[str], None],
        *,
        rest_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lazy = lazy
        self._warn = warn
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._open_until = -math.inf
        self._closing = AsyncExitStack()
        self._backend: CacheBackend | None = None
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._pending: dict[Hashable, CacheRecord] = {}
        self._needs_tidying = False
        self._has_pending = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def put(self, record: CacheRecord) -> None:
        """Buffer *record*; it replaces a pending one with the same key.

        Upload checkpoints start a flush at once: by the next flush, a killed process would have sent much more. So do
        releases, for which other processes wait.
        """
        if self._is_circuit_open:
            return
        key = _key(record)
        self._pending.pop(key, None)
        self._pending[key] = record
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._has_pending.set()
        if len(self._pending) >= _URGENT_COUNT or _is_urgent(record):
            self._is_urgent.set()

    async def drop(self, record: CacheRecord) -> None:
        """Remove the pending record with the key of *record*, if there is one; a flush that writes it ends first."""
        async with self._writing:
            self._pending.pop(_key(record), None)

    async def query(self, question: Callable[[CacheBackend], Awaitable[T]], *, default: T, create: bool = False) -> T:
        """Return the backend's answer to *question*; *default* if it does not exist yet or fails.

        *create* creates a backend that does not exist, so that the next write takes no time for that.
        """
        if self._is_circuit_open:
            return default
        try:
            if not create and self._backend is None and self._lazy.is_new():
                return default
            return await question(await self._opened())
        except Exception as error:  # noqa: BLE001 - a failing cache must not fail a run; it is reported
            self._open_circuit(error)
            return default

    async def flush(self, *, tidy: bool = False) -> None:
        """Write all pending records now. With *tidy*, delete old records too, if any were written since the last time.

        One flush at a time (`_writing`): a record that was put earlier never overwrites a later one with its key. A
        flush that is cancelled leaves its records to the next one.
        """
        async with self._writing:
            records, self._pending = self._pending, {}
            self._has_pending.clear()
            self._is_urgent.clear()
            if self._is_circuit_open or not (records or (tidy and self._needs_tidying)):
                return
            try:
                backend = await self._opened()
                await backend.write(tuple(records.values()), tidy=tidy)
            except asyncio.CancelledError:
                self._pending = {**records, **self._pending}
                raise
            except Exception as error:  # noqa: BLE001 - as above
                self._open_circuit(error)
            else:
                self._needs_tidying = not tidy

    async def keep_flushing(self) -> None:
        """Write pending records within a second, until cancelled."""
        while True:
            await self._has_pending.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._is_urgent.wait()
            await self.flush()

    async def close(self) -> None:
        """Write all pending records, and close the backend."""
        await self.flush(tidy=True)
        try:
            await self._closing.aclose()
        except Exception as error:  # noqa: BLE001 - as above
            self._open_circuit(error)

    @property
    def _is_circuit_open(self) -> bool:
        return self._clock() < self._open_until

    async def _opened(self) -> CacheBackend:
        async with self._opening:
            if self._backend is None:
                self._backend = await self._closing.enter_async_context(self._lazy.open())
            return self._backend

    def _open_circuit(self, error: Exception) -> None:
        """Stop using the backend, and warn once."""
        self._pending.clear()
        if not self._is_circuit_open:
            self._open_until = self._clock() + self._rest_seconds
            self._warn(_explanation(error))


def _is_urgent(record: CacheRecord) -> bool:
    return isinstance(record, ReleaseRecord) or (isinstance(record, UploadRecord) and record.checkpoint is not None)


def _key(record: CacheRecord) -> Hashable:
    """Return what identifies the row that *record* writes."""
    key: tuple[Hashable, ...]
    match record:
        case BlobRecord():
            key = record.repository.registry, record.digest
        case FilteredRecord():
            key = record.source, record.platforms
        case ConfirmedCopy():
            key = record.rule, record.target
        case UploadRecord():
            key = record.repository, record.digest
        case ReleaseRecord():
            key = record.registry, record.digest
        case FactRecord():
            key = record.host, record.key
        case ReferrerCheck():
            key = record.repository, record.subject
        case AttachedTagRecord():
            key = record.repository, record.tag
        case CreatedRecord():
            key = (record.digest,)
    return type(record), *key


def _explanation(error: Exception) -> str:
    what, remedy = f"state: an unexpected {type(error).__name__}", "please report it"
    if isinstance(error, ImageSyncerError):
        what = error.message
        # A remedy for a passing failure, such as "try again later", does not help: the next run tries again anyway.
        remedy = _REMEDY if error.retryable or error.remedy is None else error.remedy
    return f"{what}; continuing without the results of earlier runs, which only costs requests ({remedy})"
