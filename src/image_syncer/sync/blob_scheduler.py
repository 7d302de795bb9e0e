"""Where each blob of a run goes: to every target registry once, and from there into its other repositories.

The first repository of a registry that needs a blob leads: it looks whether the blob is there already, and uploads it
if not. The others wait for it and mount. What several registries lack at the same time is read from the source once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from image_syncer.concurrency.semaphore import PrioritySemaphore
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.roles import BlobLocations, Opener
from image_syncer.sync.blob_content import CountedContent, SourceBlob
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.result import RunObserver
from image_syncer.sync.tee import SharedRead

BlobAtRegistry = tuple[str, Digest]
"""A blob at a registry."""

TransfersOf = Callable[[str], int]
"""Returns how many large blobs may be read from a registry at once (`limits.transfers`)."""

_HOLDERS = 50_000  # Older ones are left to the knowledge.
_SMALL_PER_LARGE = 4  # Small blobs are requests rather than transfers, so more of them may be on their way.


@dataclass(slots=True, eq=False)
class _SharedUpload:
    """One blob that is about to be read, for everybody who has asked for it until then."""

    content: SourceBlob
    goals: list[TargetProgress] = field(default_factory=list[TargetProgress])
    arrived: set[TargetProgress] = field(default_factory=set[TargetProgress])
    failures: dict[TargetProgress, CopyFailed] = field(default_factory=dict[TargetProgress, CopyFailed])
    over: asyncio.Event = field(default_factory=asyncio.Event)


class _CountdownLatch:
    """The goals of one image that need the same blob at once: the read waits until each knows whether it takes part."""

    def __init__(self, size: int) -> None:
        self._undecided = size
        self.decided = asyncio.Event()

    def seat(self) -> "_LatchTicket":
        """Return the seat of one of them."""
        return _LatchTicket(self)

    def decide(self) -> None:
        """Note that one more has decided."""
        self._undecided -= 1
        if self._undecided <= 0:
            self.decided.set()


class _LatchTicket:
    """One goal's part in a party. What is decided once stays so."""

    def __init__(self, party: _CountdownLatch) -> None:
        self._party = party
        self._taken = True

    def decide(self) -> None:
        """Let the others wait for this one no more."""
        if self._taken:
            self._taken = False
            self._party.decide()

    async def all_decided(self) -> None:
        """Decide, and wait for the others."""
        self.decide()
        await self._party.decided.wait()


class BlobScheduler:
    """Puts blobs into repositories; one object serves a whole run. *transfers* large blobs are read at once per source.

    What the run itself has placed is known for certain; what *knowledge* has from earlier runs is only tried.
    """

    def __init__(self, knowledge: BlobLocations, observer: RunObserver, *, transfers: TransfersOf) -> None:
        self._knowledge = knowledge
        self._observer = observer
        self._transfers = transfers
        self._holders: dict[BlobAtRegistry, Repository] = {}
        self._leading: dict[BlobAtRegistry, asyncio.Event] = {}
        self._waiting: Counter[BlobAtRegistry] = Counter()
        self._hints: dict[BlobAtRegistry, Repository] = {}
        self._mounting: set[str] = set()
        self._queued: dict[Digest, _SharedUpload] = {}
        self._turns: dict[tuple[str, bool], PrioritySemaphore] = {}

    async def expect(self, blobs: Iterable[Descriptor], goals: Iterable[TargetProgress]) -> None:
        """Ask the knowledge about *blobs*, which are needed next: one question for each registry."""
        digests = [blob.digest for blob in blobs]
        for registry in {goal.repository.registry for goal in goals}:
            unknown = [digest for digest in digests if (registry, digest) not in self._holders]
            if unknown:
                found = await self._knowledge.holders(registry, unknown)
                self._hints |= {(registry, digest): repository for digest, repository in found.items()}

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Believe no longer that *digest* is in *repository*, or anywhere else at its registry."""
        spot = repository.registry, digest
        for holder in (self._holders.pop(spot, None), self._hints.pop(spot, None), repository):
            if holder is not None:
                self._knowledge.forget(holder, digest)

    async def place(self, content: SourceBlob, goals: Sequence[TargetProgress]) -> Mapping[TargetProgress, CopyFailed]:
        """Make sure that the blob is in the repository of each of *goals*; return why it is not in some."""
        failures: dict[TargetProgress, CopyFailed] = {}
        party = _CountdownLatch(len(goals))

        async def deliver(goal: TargetProgress) -> None:
            seat = party.seat()
            try:
                await self._deliver(content, goal, seat)
            except CopyFailed as failure:
                failures[goal] = failure
            finally:
                seat.decide()

        await for_each(goals, deliver, width=len(goals))
        return failures

    async def _deliver(self, content: SourceBlob, goal: TargetProgress, seat: _LatchTicket) -> None:
        blob, spot = content.blob, (goal.repository.registry, content.blob.digest)
        holder = await self._led(spot, seat)
        if holder is not None:
            if not await self._is_taken_over(goal, blob, holder):
                await self._ship(content, goal, seat)
            return
        self._leading[spot] = asyncio.Event()
        try:
            if not await self._is_there(spot, blob, goal):
                await self._ship(content, goal, seat)
            self._holders[spot] = goal.repository
            if len(self._holders) > _HOLDERS:
                del self._holders[next(iter(self._holders))]
            self._knowledge.record(goal.repository, blob)
        finally:
            self._leading.pop(spot).set()

    async def _led(self, spot: BlobAtRegistry, seat: _LatchTicket) -> Repository | None:
        """Return who holds the blob at this registry, once whoever leads there is done; None if we have to lead."""
        self._waiting[spot] += 1
        try:
            while spot not in self._holders and (leader := self._leading.get(spot)) is not None:
                seat.decide()
                await leader.wait()
        finally:
            self._waiting[spot] -= 1
            if not self._waiting[spot]:
                del self._waiting[spot]
        return self._holders.get(spot)

    async def _is_taken_over(self, goal: TargetProgress, blob: Descriptor, holder: Repository) -> bool:
        """Whether the repository could take the blob over from *holder*, or has it already."""
        if holder == goal.repository:
            goal.count(existing=blob.size or 0)
            return True
        return await self._mounted(goal, blob, holder) or await self._found(goal, blob)

    async def _is_there(self, spot: BlobAtRegistry, blob: Descriptor, goal: TargetProgress) -> bool:
        """Whether the repository has *blob*, or could take it over from one that was known to have it."""
        hint = self._hints.pop(spot, None)
        if hint is not None and hint != goal.repository:
            if await self._mounted(goal, blob, hint):
                return True
            self._knowledge.forget(hint, blob.digest)
        elif hint is None and spot[0] in self._mounting:
            # A registry that mounts says by the same request whether it has the blob, and opens an upload if not.
            return await self._mounted(goal, blob, goal.repository)
        return await self._found(goal, blob)

    async def _found(self, goal: TargetProgress, blob: Descriptor) -> bool:
        try:
            found = await goal.target.has_blob(blob)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="push blob") from error
        if found:
            goal.count(existing=blob.size or 0)
        return found

    async def _mounted(self, goal: TargetProgress, blob: Descriptor, holder: Repository) -> bool:
        try:
            mounted = await goal.target.mount(blob, holder)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="mount blob") from error
        if mounted:
            self._mounting.add(holder.registry)
            size = blob.size or 0
            goal.count(existing=size) if holder == goal.repository else goal.count(mounted=size)
        return mounted

    async def _ship(self, content: SourceBlob, goal: TargetProgress, seat: _LatchTicket) -> None:
        """Have the blob uploaded for *goal*, together with all who want it when its turn comes."""
        while True:
            shipment = self._queued.get(content.blob.digest)
            if shipment is None:
                shipment = await self._lead_shipment(content, goal, seat)
            else:
                shipment.goals.append(goal)
                seat.decide()
                await shipment.over.wait()
            failure = shipment.failures.get(goal)
            if failure is not None and (failure.side == "target" or shipment.content.origin == content.origin):
                raise failure
            if goal in shipment.arrived:
                return
            # Whoever led was stopped, or could not read where he reads: we lead, and read where we do.

    async def _lead_shipment(self, content: SourceBlob, goal: TargetProgress, seat: _LatchTicket) -> _SharedUpload:
        digest = content.blob.digest
        shipment = self._queued[digest] = _SharedUpload(content, [goal])
        try:
            await seat.all_decided()
            async with self._turns_at(content).slot(lambda: self._weight(shipment)):
                del self._queued[digest]  # Who comes from now on is too late for this read.
                await self._carry(shipment)
        finally:
            if self._queued.get(digest) is shipment:
                del self._queued[digest]
            shipment.over.set()
        return shipment

    def _turns_at(self, content: SourceBlob) -> PrioritySemaphore:
        key = content.origin.registry, content.is_small
        if key not in self._turns:
            self._turns[key] = PrioritySemaphore(
                self._transfers(key[0]) * (_SMALL_PER_LARGE if content.is_small else 1)
            )
        return self._turns[key]

    def _weight(self, shipment: _SharedUpload) -> int:
        """Return how many wait for it: who is served by it, and who can mount it then."""
        digest = shipment.content.blob.digest
        registries = {goal.repository.registry for goal in shipment.goals}
        return len(shipment.goals) + sum(self._waiting[registry, digest] for registry in registries)

    async def _carry(self, shipment: _SharedUpload) -> None:
        """Upload the blob for all goals, reading it once."""
        content, goals = shipment.content, shipment.goals
        if content.is_small or len(goals) == 1:
            await for_each(goals, lambda goal: self._push(shipment, goal, content.open), width=len(goals))
            return
        shared = SharedRead(content.open, len(goals))

        async def push(numbered: tuple[int, TargetProgress]) -> None:
            number, goal = numbered
            try:
                await self._push(shipment, goal, partial(shared.open, number))
            finally:
                shared.close(number)

        async with asyncio.TaskGroup() as group:
            pump = group.create_task(shared.pump(), name="shared read")
            try:
                await for_each(enumerate(goals), push, width=len(goals))
            finally:
                pump.cancel()

    async def _push(self, shipment: _SharedUpload, goal: TargetProgress, content: Opener) -> None:
        blob = shipment.content.blob
        upload = CountedContent(content, blob.size or 0, self._observer)
        try:
            await goal.target.push_blob(blob, upload.open)
        except StoreError as error:
            upload.withdraw()
            reading = error is upload.failure
            side, step = ("source", "read blob") if reading else ("target", "push blob")
            failure = CopyFailed(error, side=side, step=step)
            failure.__cause__ = error
            shipment.failures[goal] = failure
        else:
            upload.succeed()
            goal.count(copied=upload.moved_bytes)
            shipment.arrived.add(goal)
