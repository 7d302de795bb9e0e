"""Notes on their way to an archive, and questions to it. Whatever happens to the archive, runs go on without it."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack, suppress
from typing import Final, TypeVar

from image_syncer.cache.backend import BlobRecord, CacheBackend, CacheRecord, FilteredRecord, LazyBackend, UploadRecord
from image_syncer.errors import ImageSyncerError
from image_syncer.roles import ConfirmedCopy

GATHER_SECONDS: Final = 1.0
"""How long notes wait for others, to share their transaction."""

MOST_NOTES: Final = 5000
"""How many notes wait at most; beyond that the oldest are dropped."""

_PRESSING: Final = 1000  # So many wait no longer.
_REMEDY: Final = "look at its disk, its rights and who else uses it, or name another with --state"

T = TypeVar("T")


class WriteBehind:
    """The only one who opens, reads and writes the archive of *shelf*, and that when it is first needed.

    No method raises. The first trouble is told to *warn*; then the archive is left alone for *rest_seconds*, as if
    there were none.
    """

    def __init__(
        self,
        shelf: LazyBackend,
        warn: Callable[[str], None],
        *,
        rest_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._warn = warn
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._rests_until = -math.inf
        self._closing = AsyncExitStack()
        self._archive: CacheBackend | None = None
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._notes: dict[Hashable, CacheRecord] = {}
        self._untidy = False
        self._noted = asyncio.Event()
        self._pressing = asyncio.Event()

    def note(self, note: CacheRecord) -> None:
        """Have *note* written soon; it takes the place of one about the same thing.

        Where an upload is, and how far, is written at once: whoever is killed next has moved much by then.
        """
        if self._rests:
            return
        key = _thing(note)
        self._notes.pop(key, None)
        self._notes[key] = note
        if len(self._notes) > MOST_NOTES:
            del self._notes[next(iter(self._notes))]
        self._noted.set()
        if len(self._notes) >= _PRESSING or _is_progress(note):
            self._pressing.set()

    async def ask(self, question: Callable[[CacheBackend], Awaitable[T]], *, otherwise: T, makes: bool = False) -> T:
        """Return what the archive answers to *question*; *otherwise* where there is none or it cannot be asked.

        With *makes* one is made where there is none, so that what is noted next is written without delay.
        """
        if self._rests or (not makes and self._archive is None and self._shelf.is_new()):
            return otherwise
        try:
            return await question(await self._opened())
        except Exception as error:  # noqa: BLE001 - no trouble with what is remembered may end a run; it is told
            self._give_up(error)
            return otherwise

    async def flush(self, *, tidy: bool = False) -> None:
        """Write what is noted now. With *tidy*, and if anything was written, what is old goes."""
        async with self._writing:
            notes, self._notes = self._notes, {}
            self._noted.clear()
            self._pressing.clear()
            if self._rests or not (notes or (tidy and self._untidy)):
                return
            try:
                archive = await self._opened()
                await archive.write(tuple(notes.values()), tidy=tidy)
            except Exception as error:  # noqa: BLE001 - as above
                self._give_up(error)
            else:
                self._untidy = not tidy

    async def keep_flushing(self) -> None:
        """Write what is noted, soon after it was, for ever."""
        while True:
            await self._noted.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._pressing.wait()
            await self.flush()

    async def close(self) -> None:
        """Write what is noted, and close the archive."""
        await self.flush(tidy=True)
        try:
            await self._closing.aclose()
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    @property
    def _rests(self) -> bool:
        return self._clock() < self._rests_until

    async def _opened(self) -> CacheBackend:
        async with self._opening:
            if self._archive is None:
                self._archive = await self._closing.enter_async_context(self._shelf.open())
            return self._archive

    def _give_up(self, error: Exception) -> None:
        """Leave the archive alone, and say so once."""
        self._notes.clear()
        if not self._rests:
            self._rests_until = self._clock() + self._rest_seconds
            self._warn(_explained(error))


def _is_progress(note: CacheRecord) -> bool:
    """Whether *note* says that an upload was begun or has got further."""
    return isinstance(note, UploadRecord) and note.unfinished is not None


def _thing(note: CacheRecord) -> Hashable:
    """Return what *note* is about."""
    match note:
        case BlobRecord():
            return BlobRecord, note.repository.registry, note.digest
        case FilteredRecord():
            return FilteredRecord, note.source, note.platforms
        case ConfirmedCopy():
            return ConfirmedCopy, note.rule, note.target
        case UploadRecord():
            return UploadRecord, note.repository, note.digest


def _explained(error: Exception) -> str:
    what, remedy = f"state: an unexpected {type(error).__name__}", "please report it"
    if isinstance(error, ImageSyncerError):
        what = error.message
        # What can help a moment later is tried again by the next run anyway.
        remedy = _REMEDY if error.retryable or error.remedy is None else error.remedy
    return f"{what}; it goes on without what earlier runs knew, which costs requests alone ({remedy})"
