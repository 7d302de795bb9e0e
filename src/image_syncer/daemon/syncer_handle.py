"""The way to the registries as the configuration of the moment says; what began under an older one ends under it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cache import Caches
from image_syncer.telemetry import LogWatcher


@dataclass(slots=True)
class _Generation:
    """A syncer, and how many use it now."""

    syncer: Syncer
    closing: AsyncExitStack
    users: int = 0
    retired: bool = False

    async def close_if_unused(self) -> None:
        if self.retired and not self.users:
            await self.closing.aclose()


class SyncerHandle:
    """Hands out the syncer of the options that hold now. Made by `open_connections`."""

    def __init__(self, first: _Generation, memories: Caches | None) -> None:
        self._current = first
        self._memories = memories

    @asynccontextmanager
    async def current(self) -> AsyncGenerator[Syncer]:
        """Hand out the syncer for one piece of work, and keep it open until its end."""
        generation = self._current
        generation.users += 1
        try:
            yield generation.syncer
        finally:
            generation.users -= 1
            await generation.close_if_unused()

    async def change(self, options: Options) -> None:
        """Let *options* hold for all that begins from now on. The old connections close with their last user."""
        old, self._current = self._current, await _open(options, self._memories)
        await self._retire(old)

    async def close(self) -> None:
        """Close the current connections with their last user."""
        await self._retire(self._current)

    async def _retire(self, generation: _Generation) -> None:
        generation.retired = True
        await generation.close_if_unused()


@asynccontextmanager
async def open_connections(options: Options, memories: Caches | None = None) -> AsyncGenerator[SyncerHandle]:
    """Open the way to the registries.

    What is known of them is kept in *memories*, whatever changes; None: for as long as the options hold.
    """
    connections = SyncerHandle(await _open(options, memories), memories)
    try:
        yield connections
    finally:
        await connections.close()


async def _open(options: Options, memories: Caches | None) -> _Generation:
    async with AsyncExitStack() as stack:
        syncer = await stack.enter_async_context(open_app(options, memories, registry_observer=LogWatcher()))
        return _Generation(syncer, stack.pop_all())
