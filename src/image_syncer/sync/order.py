"""In which order images are copied: what belongs together at once, and every rule in its turn."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.plan import PlannedCopy

Item = TypeVar("Item")


def by_image(copies: Iterable[PlannedCopy]) -> list[Sequence[PlannedCopy]]:
    """Return *copies* in groups that name the same image at the source and want the same of it, in their order."""
    groups: dict[tuple[Repository, Digest | None, PlatformFilter], list[PlannedCopy]] = {}
    for planned in copies:
        key = planned.copy.source.repository, planned.source_digest, planned.copy.platforms
        groups.setdefault(key, []).append(planned)
    return list(groups.values())


def in_turns(items: Iterable[Item], owner: Callable[[Item], Hashable]) -> Iterator[Item]:
    """Yield *items* such that each owner has one in turn, so that a huge one does not keep the others waiting."""
    queues: dict[Hashable, deque[Item]] = {}
    for item in items:
        queues.setdefault(owner(item), deque()).append(item)
    waiting = deque(queues.values())
    while waiting:
        queue = waiting.popleft()
        yield queue.popleft()
        if queue:
            waiting.append(queue)
