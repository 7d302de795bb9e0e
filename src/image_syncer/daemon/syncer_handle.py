"""A handle to the syncer of the options in force; work that began under older options ends under them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cache import Caches
from image_syncer.telemetry import LogWatcher


@dataclass(slots=True)
class _Generation:
    """A syncer, and the number of its current users."""

    syncer: Syncer
    resources: AsyncExitStack
    users: int = 0
    is_retired: bool = False

    async def close_if_unused(self) -> None:
        if self.is_retired and not self.users:
            await self.resources.aclose()


class SyncerHandle:
    """Lends the syncer of the options in force. Created by `open_syncer_handle`."""

    def __init__(self, first: _Generation, caches: Caches | None) -> None:
        self._current = first
        self._caches = caches

    @asynccontextmanager
    async def current(self) -> AsyncGenerator[Syncer]:
        """Lend the current syncer; it stays open until the context ends, also after a change of the options."""
        generation = self._current
        generation.users += 1
        try:
            yield generation.syncer
        finally:
            generation.users -= 1
            await generation.close_if_unused()

    async def change(self, options: Options) -> None:
        """Use *options* for all work that begins from now on. The last user of the old syncer closes it."""
        old, self._current = self._current, await _open(options, self._caches)
        await self._retire(old)

    async def close(self) -> None:
        """Close the current syncer once its last user has ended."""
        await self._retire(self._current)

    async def _retire(self, generation: _Generation) -> None:
        generation.is_retired = True
        await generation.close_if_unused()


@asynccontextmanager
async def open_syncer_handle(options: Options, caches: Caches | None = None) -> AsyncGenerator[SyncerHandle]:
    """Open a syncer with *options* and yield its handle.

    *caches* outlive a change of the options; None: each generation has its own.
    """
    handle = SyncerHandle(await _open(options, caches), caches)
    try:
        yield handle
    finally:
        await handle.close()


async def _open(options: Options, caches: Caches | None) -> _Generation:
    async with AsyncExitStack() as stack:
        syncer = await stack.enter_async_context(open_app(options, caches, registry_observer=LogWatcher()))
        return _Generation(syncer, stack.pop_all())
