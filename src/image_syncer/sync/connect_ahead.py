"""Connections to far registries that are opened before the blobs of the first image need them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from image_syncer.concurrency.taskpool import background
from image_syncer.oci import Repository
from image_syncer.roles import Stores

_CONNECTIONS = 8
"""As many as an ordinary image has blobs."""


class ConnectAhead:
    """Connects once to each pair of registries; later copies find the connections of earlier ones."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._done: set[tuple[str, str]] = set()

    @asynccontextmanager
    async def connecting(self, source: Repository, target: Repository) -> AsyncGenerator[None]:
        """With the first copy between two registries, connect to both while the copy reads its manifest."""
        ends = source.registry, target.registry
        if ends in self._done:
            yield
            return
        self._done.add(ends)
        async with background(self._connect(source, target)):
            yield

    async def _connect(self, source: Repository, target: Repository) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stores.prepare(source, "source", _CONNECTIONS))
            group.create_task(self._stores.prepare(target, "target", _CONNECTIONS))
