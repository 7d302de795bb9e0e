"""Places blobs: each goes to a target registry once, is mounted into its other repositories, and is read once for all.

The first repository of a registry that needs a blob leads: it looks for the blob and uploads it if it is missing. Other
repositories of that registry wait for the leader and mount. Registries that need a blob at the same time share one read
of the source.

Why no task waits in a circle:

* A follower waits for its leader only, and a leader never follows for the same blob.
* A leader waits for other registries in `_gather` only. Each of them decides before it waits for anything, and the wait
  has a bound; after it the late registry is left behind.
* A source slot is held by a task whose upload has everything that it needs: the slot comes before the upload's own
  slots, and no upload waits for a source slot while it holds a target's (but for reads alone, which have slots of their
  own that a gathering read never takes).

So a slow target costs the others a bounded part of their time, and a silent one a single wait.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from image_syncer.concurrency.semaphore import PrioritySemaphore
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.roles import BlobLocations, Opener
from image_syncer.structs import Struct, field
from image_syncer.sync.blob_content import CountedContent, SourceBlob
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.fan_out import LagTracker, WaitBudget
from image_syncer.sync.result import RunObserver
from image_syncer.sync.tee import SharedRead
from image_syncer.sync.transfer_probe import TransferProbe, TransferRange

BlobAtRegistry = tuple[str, Digest]
"""A blob at a registry."""

TransfersOf = Callable[[str], TransferRange]
"""Returns how many large blobs may be read from a registry at once, up to `limits.transfers`."""

_HOLDERS = 50_000
"""Blob locations of this run that are kept in memory; older ones are in the cache."""
_CHEAP_BYTES = 8 * 1024 * 1024
"""A blob of at most this size is not looked for in a new repository; an earlier run may have left larger ones."""
_POLL_SECONDS = 0.02
_CLAIM_POLL_SECONDS = 0.1
"""How often a process looks whether another one has uploaded a blob."""
_ALONE_SHARE = 4
"""A target that reads alone gets one source slot in so many, since it holds it for as long as it takes."""


class _SharedUpload(Struct, frozen=False, eq=False):
    """One blob that the *members* (target registries) upload from one read; open to others until it *started*."""

    content: SourceBlob
    members: list[str]
    started: asyncio.Event = field(default_factory=asyncio.Event)
    gone: set[int] = field(default_factory=set[int])
    read: SharedRead | None = None
    """None before the start, and if the leader was cancelled before it."""

    def join(self, registry: str) -> int:
        """Add *registry* and return its number."""
        self.members.append(registry)
        return len(self.members) - 1

    def leave(self, number: int) -> None:
        """Remove a member that ended before its upload."""
        self.gone.add(number)
        if self.read is not None:
            self.read.close(number)


class _SourceSlots:
    """The slots for large reads of a source; their number follows from the throughput."""

    def __init__(self, transfers: TransferRange) -> None:
        self._probe = TransferProbe.begin(transfers, time.monotonic())
        self.semaphore = PrioritySemaphore(self._probe.value)

    def raise_to(self, start: int) -> None:
        """Provide at least *start* slots, within the limit."""
        self._change(self._probe.raised(start))

    def count(self, moved_bytes: int) -> None:
        """Note that *moved_bytes* were read."""
        self._change(self._probe.after(moved_bytes, time.monotonic(), has_waiting=self.semaphore.has_waiting))

    def _change(self, probe: TransferProbe) -> None:
        before, self._probe = self._probe.value, probe
        if probe.value != before:
            self.semaphore.resize(probe.value)


class BlobScheduler:
    """Places blobs in repositories; one object serves a whole run, or several.

    It knows which blobs this run placed; hints of earlier runs in *locations* are tried and may be wrong.
    """

    def __init__(self, locations: BlobLocations, observer: RunObserver, *, transfers: TransfersOf) -> None:
        self._locations = locations
        self._observer = observer
        self._transfers = transfers
        self._holders: dict[BlobAtRegistry, Repository] = {}
        self._leaders: dict[BlobAtRegistry, asyncio.Event] = {}
        self._followers: Counter[BlobAtRegistry] = Counter()
        self._hints: dict[BlobAtRegistry, Repository] = {}
        self._mounting: set[str] = set()
        self._gathering: dict[Digest, _SharedUpload] = {}
        self._source_slots: dict[str, _SourceSlots] = {}
        self._alone_slots: dict[tuple[str, str], PrioritySemaphore] = {}
        self._budgets: dict[str, WaitBudget] = {}
        self._created = time.monotonic()
        self.lags = LagTracker()

    async def load_hints(self, blobs: Iterable[Descriptor], registry: str) -> None:
        """Load the known locations of *blobs* at *registry*, in one request to the cache."""
        unknown = [blob.digest for blob in blobs if (registry, blob.digest) not in self._holders]
        if unknown:
            found = await self._locations.holders(registry, unknown)
            self._hints |= {(registry, digest): repository for digest, repository in found.items()}

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Drop every known location of *digest* at the registry of *repository*."""
        key = repository.registry, digest
        for holder in (self._holders.pop(key, None), self._hints.pop(key, None), repository):
            if holder is not None:
                self._locations.forget(holder, digest)

    async def place(self, content: SourceBlob, goal: TargetProgress) -> None:
        """Make the repository of *goal* hold the blob; raises `CopyFailed`."""
        blob, key = content.blob, (goal.repository.registry, content.blob.digest)
        try:
            holder = await self._wait_for_leader(key, goal)
            if holder is not None:
                if not await self._take_over(goal, blob, holder):
                    await self._upload(content, goal)
                return
            self._leaders[key] = asyncio.Event()
            try:
                await self._wait_for_other_process(key, goal)
                if not await self._find_or_mount(key, content, goal):
                    await self._upload(content, goal)
                self.record_holder(goal.repository, blob)
            finally:
                self._locations.release(*key)
                self._leaders.pop(key).set()  # A follower that finds no holder leads next.
        finally:
            goal.fan_out.decide(*key)

    async def _wait_for_leader(self, key: BlobAtRegistry, goal: TargetProgress) -> Repository | None:
        """Wait while another repository of the registry leads; return the holder, or None if *goal* has to lead."""
        self._followers[key] += 1
        try:
            while key not in self._holders and (leader := self._leaders.get(key)) is not None:
                goal.fan_out.decide(*key)
                await leader.wait()
        finally:
            self._followers[key] -= 1
            if not self._followers[key]:
                del self._followers[key]
        return self._holders.get(key)

    async def _wait_for_other_process(self, key: BlobAtRegistry, goal: TargetProgress) -> None:
        """Claim the blob. While another process that shares the state uploads it, wait; then look where it is now.

        Only a leader waits here, and it holds no slot and no claim then. So processes cannot wait in a circle.
        """
        if not await self._locations.claim(*key):
            goal.fan_out.decide(*key)
            while not await self._locations.claim(*key):  # noqa: ASYNC110 - another process cannot set an event
                await asyncio.sleep(_CLAIM_POLL_SECONDS)
        elif key in self._hints:
            return
        # Another process may have recorded it since the hints were loaded. A process that is alone asks its memory.
        found = await self._locations.holders(key[0], [key[1]])
        self._hints |= {(key[0], digest): holder for digest, holder in found.items()}

    def record_holder(self, repository: Repository, blob: Descriptor) -> None:
        """Remember that *repository* has *blob*."""
        self._holders[repository.registry, blob.digest] = repository
        if len(self._holders) > _HOLDERS:
            del self._holders[next(iter(self._holders))]
        self._locations.record(repository, blob)

    async def _take_over(self, goal: TargetProgress, blob: Descriptor, holder: Repository) -> bool:
        """Mount *blob* from *holder*, or find it in the repository; False if it has to be uploaded."""
        if holder == goal.repository:
            goal.count(existing=blob.size or 0)
            return True
        return await self._mount(goal, blob, holder) or await self._find(goal, blob)

    async def _find_or_mount(self, key: BlobAtRegistry, content: SourceBlob, goal: TargetProgress) -> bool:
        """Find *blob* in the repository, or mount it from one that may hold it; False if it has to be uploaded."""
        blob, origin, hint = content.blob, goal.mount_origin, self._hints.pop(key, None)
        if goal.is_source:
            goal.count(existing=blob.size or 0)
            return True
        if origin is not None and goal.trusted:
            # Source and target are one registry: the source repository holds the blob for certain.
            if await self._mount(goal, blob, origin):
                return True
        elif hint is not None and hint != goal.repository and goal.may_mount:
            if await self._mount(goal, blob, hint):
                return True
            self._locations.forget(hint, blob.digest)
        elif hint is None and key[0] in self._mounting and goal.trusted and goal.may_mount:
            # A registry that mounts answers in one request whether it has the blob, and opens an upload if not.
            return await self._mount(goal, blob, goal.repository)
        expected = hint == goal.repository
        is_cheap = blob.size is not None and blob.size <= _CHEAP_BYTES
        if is_cheap and not expected and goal.may_be_new and goal.trusted and await goal.target.is_new():
            return False
        return await self._find(goal, blob, expected=expected)

    async def _find(self, goal: TargetProgress, blob: Descriptor, *, expected: bool = False) -> bool:
        try:
            found = await goal.target.has_blob(blob, expected=expected)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="push blob") from error
        if found:
            goal.count(existing=blob.size or 0)
        return found

    async def _mount(self, goal: TargetProgress, blob: Descriptor, holder: Repository) -> bool:
        if not (goal.trusted and goal.may_mount):
            return False  # If not trusted, the target accepted a mount before, and then did not hold the blob.
        try:
            mounted = await goal.target.mount(blob, holder)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="mount blob") from error
        if mounted:
            self._mounting.add(holder.registry)
            size = blob.size or 0
            goal.count(existing=size) if holder == goal.repository else goal.count(mounted=size)
        return mounted

    async def _upload(self, content: SourceBlob, goal: TargetProgress) -> None:
        """Upload the blob for *goal*; a large one is read together with other registries that need it now."""
        if content.is_small:  # Read whole and cached, so there is nothing to wait for.
            await self._push(content, goal, content.open)
            return
        registry = goal.repository.registry
        budget = self._budget(registry)
        budget.add(running=1)
        try:
            while not await self._upload_large(content, goal, budget):
                pass
        finally:
            budget.add(running=-1)
        self.lags.finish_upload(registry)

    async def _upload_large(self, content: SourceBlob, goal: TargetProgress, budget: WaitBudget) -> bool:
        """Upload together with others; False if their read failed for a reason that this source may not share."""
        registry = goal.repository.registry
        if self.lags.is_behind(registry):
            goal.fan_out.decide(registry, content.blob.digest)
            async with self._slots_alone(content, registry).slot(lambda: 0):
                await self._push(content, goal, content.open)
            return True
        upload = self._gathering.get(content.blob.digest)
        if upload is None:
            await self._lead_upload(content, goal, budget)
            return True
        number = upload.join(registry)
        goal.fan_out.decide(registry, content.blob.digest)
        try:
            await upload.started.wait()
            if upload.read is None:
                return False
            async with upload.read.reading(number) as opener:
                await self._push(upload.content, goal, opener)
        except CopyFailed as failure:
            if failure.side == "source" and upload.content.origin != content.origin:
                return False
            raise
        finally:
            upload.leave(number)
        return True

    async def _lead_upload(self, content: SourceBlob, goal: TargetProgress, budget: WaitBudget) -> None:
        registry, digest = goal.repository.registry, content.blob.digest
        upload = self._gathering[digest] = _SharedUpload(content, [registry])
        try:
            await self._gather(upload, goal, budget)
            slots = self._slots(content, registry)
            async with slots.semaphore.slot(lambda: self._waiting_for(upload)):
                self._start(upload)
                if len(upload.members) == 1:
                    await self._push(content, goal, content.open, slots.count)
                elif upload.read is not None:
                    async with upload.read.reading(0) as opener:
                        await self._push(content, goal, opener, slots.count)
        finally:
            if self._gathering.get(digest) is upload:
                del self._gathering[digest]
            upload.started.set()

    async def _gather(self, upload: _SharedUpload, goal: TargetProgress, budget: WaitBudget) -> None:
        """Wait until the image's other registries have decided about the blob; leave late ones behind."""
        registry, digest = goal.repository.registry, upload.content.blob.digest
        goal.fan_out.decide(registry, digest)
        with _waiting(budget):
            while late := [one for one in goal.fan_out.undecided(digest) if not self.lags.is_behind(one)]:
                if not budget.allows(upload.content.blob.size or 0):
                    for other in late:
                        self.lags.fall_behind(other)
                    return
                await goal.fan_out.wait_for_change(_POLL_SECONDS)

    def _start(self, upload: _SharedUpload) -> None:
        """Start the read; registries that come later are not part of it."""
        content = upload.content
        del self._gathering[content.blob.digest]
        if len(upload.members) > 1:
            upload.read = SharedRead(
                content.open,
                len(upload.members),
                alone=lambda number: self._slots_alone(content, upload.members[number]).slot(lambda: 0),
                fell_behind=lambda number: self.lags.fall_behind(upload.members[number]),
            )
            for number in upload.gone:
                upload.read.close(number)
        upload.started.set()

    def _slots(self, content: SourceBlob, target: str) -> _SourceSlots:
        """Return the slots for large reads of the source that go to the registry *target*, too."""
        source = content.origin.registry
        if source not in self._source_slots:
            self._source_slots[source] = _SourceSlots(self._transfers(source))
        slots = self._source_slots[source]
        slots.raise_to(self._transfers(target).start)
        return slots

    def _slots_alone(self, content: SourceBlob, target: str) -> PrioritySemaphore:
        """Return the slots for large reads of the source that go to *target* alone."""
        key = content.origin.registry, target
        if key not in self._alone_slots:
            self._alone_slots[key] = PrioritySemaphore(self._transfers(key[0]).most // _ALONE_SHARE)
        return self._alone_slots[key]

    def _budget(self, registry: str) -> WaitBudget:
        if registry not in self._budgets:
            self._budgets[registry] = WaitBudget(time.monotonic, time.monotonic() - self._created)
        return self._budgets[registry]

    def _waiting_for(self, upload: _SharedUpload) -> int:
        """Return how many repositories wait for the upload: its members, and their followers that can mount then."""
        digest = upload.content.blob.digest
        return len(upload.members) + sum(self._followers[registry, digest] for registry in set(upload.members))

    async def _push(
        self,
        content: SourceBlob,
        goal: TargetProgress,
        opener: Opener,
        count: Callable[[int], None] | None = None,
    ) -> None:
        blob = content.blob
        upload = CountedContent(opener, blob.size or 0, self._observer, count)
        try:
            await goal.target.push_blob(blob, upload.open)
        except StoreError as error:
            upload.withdraw()
            reading = error is upload.failure
            side, step = ("source", "read blob") if reading else ("target", "push blob")
            raise CopyFailed(error, side=side, step=step) from error
        upload.succeed()
        goal.count(copied=upload.moved_bytes)


@contextmanager
def _waiting(budget: WaitBudget) -> Generator[None]:
    budget.add(waiting=1)
    try:
        yield
    finally:
        budget.add(waiting=-1)
