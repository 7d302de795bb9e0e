"""What the blobs of an image would wait for at far registries, done before they need it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from image_syncer.concurrency.taskpool import background
from image_syncer.oci import Repository
from image_syncer.roles import Stores
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.plan import PlannedCopy

_CONNECTIONS = 8
"""As many as an ordinary image has blobs."""


class ConnectAhead:
    """Connects once to each pair of registries; later copies find the connections of earlier ones."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._done: set[tuple[str, str]] = set()

    @asynccontextmanager
    async def connecting(self, copies: Sequence[PlannedCopy], goal: TargetProgress) -> AsyncGenerator[None]:
        """Do what the blobs would wait for, while the copy reads its manifest.

        With the first copy between two registries, connect to both; with each, ask whether its repository is new.
        """
        source = copies[0].copy.source.repository
        is_far = self._stores.is_far(goal.repository.registry)
        goal.may_be_new = is_far and goal.mount_origin is None and not any(planned.replaces for planned in copies)
        ends = source.registry, goal.repository.registry
        connects = ends not in self._done
        if not (connects or goal.may_be_new):
            yield
            return
        self._done.add(ends)
        async with background(self._prepare(source, goal, connects=connects)):
            yield

    async def _prepare(self, source: Repository, goal: TargetProgress, *, connects: bool) -> None:
        async with asyncio.TaskGroup() as group:
            if connects:
                group.create_task(self._stores.prepare(source, "source", _CONNECTIONS))
                group.create_task(self._stores.prepare(goal.repository, "target", _CONNECTIONS))
            if goal.may_be_new:
                group.create_task(goal.target.is_new())
