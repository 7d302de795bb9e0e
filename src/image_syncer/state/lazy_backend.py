"""The cache in the state of a one-shot run, which is opened at its first use."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from image_syncer.cache.backend import CacheBackend, LazyBackend


def lazy_cache_backend(state: str, *, keep: timedelta, warn: Callable[[str], None]) -> LazyBackend:
    """Return the cache tables in *state*, a file or URL; they and the code for them are loaded at the first use."""

    def is_new() -> bool:
        try:
            return "://" not in state and not Path(state).expanduser().exists()
        except OSError:  # Its directory is unreadable; opening the state reports that.
            return False

    @asynccontextmanager
    async def opened() -> AsyncGenerator[CacheBackend]:
        open_backend = await asyncio.to_thread(_backend_opener)
        async with open_backend(state, keep=keep, warn=warn) as backend:
            yield backend

    return LazyBackend(opened, is_new)


def _backend_opener() -> Callable[..., AbstractAsyncContextManager[CacheBackend]]:
    # The import takes hundreds of milliseconds, which a run without history saves.
    from image_syncer.state.cache_tables import open_cache_backend  # noqa: PLC0415

    return open_cache_backend
