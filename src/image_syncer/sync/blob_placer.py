"""Places the blobs of manifests: each once per repository and run, for all the copies that need it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from image_syncer.concurrency.batch_single_flight import BatchSingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.roles import Source
from image_syncer.sync.blob_content import SourceBlob
from image_syncer.sync.blob_scheduler import BlobScheduler
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.manifest_reader import ManifestReader

_BLOBS_AT_ONCE: Final = 16


class BlobPlacer:
    """Places blobs through *scheduler*, and remembers which repository has which."""

    def __init__(self, scheduler: BlobScheduler, reader: ManifestReader) -> None:
        self._scheduler = scheduler
        self._reader = reader
        # The upload of a blob is the same for every caller, so all of them share its failure.
        self._blobs: BatchSingleFlight[tuple[Repository, Digest]] = BatchSingleFlight(share_failures=True)

    @property
    def falls_behind(self) -> Mapping[str, int]:
        """How often each target registry was too slow to share reads with others."""
        return self._scheduler.lags.falls

    async def place_all(
        self, blobs: Sequence[Descriptor], origin: Repository, source: Source, goal: TargetProgress
    ) -> None:
        """Make the target repository hold the *blobs* of one manifest; a failure ends in `goal.failure`."""
        await self._scheduler.load_hints(blobs, goal.repository.registry)
        await for_each(blobs, lambda blob: self.place(blob, origin, source, goal), width=_BLOBS_AT_ONCE)

    async def place(self, blob: Descriptor, origin: Repository, source: Source, goal: TargetProgress) -> None:
        """Make the target repository hold *blob*; a failure ends in `goal.failure`, and other blobs continue."""
        if goal.failure is not None:
            return
        key = goal.repository, blob.digest
        if not self._blobs.is_free(key):  # Other registries need not wait for this one's read.
            goal.fan_out.decide(goal.repository.registry, blob.digest)
        claim = self._blobs.claim([key])
        while claim.pending:
            async with claim as mine:
                try:
                    if mine:
                        await self._scheduler.place(SourceBlob(blob, origin, source, self._reader), goal)
                except CopyFailed as failure:
                    claim.failures[key] = failure
        failure = claim.failures.get(key)
        if isinstance(failure, CopyFailed):
            goal.failure = goal.failure or failure
        elif not claim.own:
            goal.count(existing=blob.size or 0)

    def record(self, repository: Repository, blobs: Iterable[Descriptor]) -> None:
        """Remember that *repository* has *blobs*: other repositories of its registry mount them from there."""
        for blob in blobs:
            self._scheduler.record_holder(repository, blob)

    def forget_upload(self, repository: Repository, digest: Digest) -> None:
        """Place the blob *digest* again when it is needed next."""
        self._blobs.forget((repository, digest))

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Do not trust what is known about the blob *digest* in *repository*."""
        self.forget_upload(repository, digest)
        self._scheduler.forget(repository, digest)
