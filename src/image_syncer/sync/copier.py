"""The graph copy: blobs, then child manifests, then the index, then the tag, and everything once.

Nothing a puller can see changes before all that it needs is there. What was done is known for the whole run: a blob
goes to each target registry once, is mounted into its other repositories, and a manifest that is already in a
repository costs one request for a further tag.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from image_syncer.errors import CopyFailed, MissingContent, StoreError, TooLarge
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest, Repository
from image_syncer.store import Chunk, Source, Stores, Target
from image_syncer.sync.once import Once
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.reader import ManifestReader
from image_syncer.sync.result import Observer, Transferred
from image_syncer.sync.trim import check_depth, trim
from image_syncer.sync.work import work_off

_PARTS_AT_ONCE = 16
_NODES_LIMIT = 20_000


@dataclass(slots=True)
class _Job:
    """One copy while it runs: its ends, what a filter rewrote, and what it has moved."""

    origin: Repository
    source: Source
    repository: Repository
    target: Target
    rewritten: dict[Digest, RawManifest]
    probe: bool
    """Whether child manifests may be there already, so that asking for them can save their blobs."""
    transferred: Transferred = field(default_factory=Transferred)
    nodes: int = 0

    def count(self, **amount: int) -> None:
        self.transferred += Transferred(**amount)

    def visit(self, raw: RawManifest) -> None:
        """Bound the whole tree, since indexes multiply."""
        self.nodes += 1
        if self.nodes > _NODES_LIMIT:
            error = TooLarge(f"{raw.digest}: more than {_NODES_LIMIT} manifests in one image")
            raise CopyFailed(error, side="source", step="read manifest")


class Copier:
    """Copies images between *stores*; one object serves a whole run and remembers what it has placed where."""

    def __init__(self, stores: Stores, reader: ManifestReader, *, observer: Observer) -> None:
        self._stores = stores
        self._reader = reader
        self._observer = observer
        # By target repository: the failure of a blob is everybody's, since all would do the very same.
        self._blobs: Once[tuple[Repository, Digest], None] = Once(share_failures=True)
        # That of a manifest may be one of its tag, which may not move.
        self._manifests: Once[tuple[Repository, Digest], None] = Once(share_failures=False)
        # By target registry: which repository got the blob first. A failure there may be that repository's alone.
        self._placed: Once[tuple[str, Digest], Repository] = Once(share_failures=False)

    async def copy(self, planned: PlannedCopy, *, force: bool = False) -> Transferred:
        """Carry out one planned copy and return what it moved; `CopyFailed` otherwise, and then no tag has changed."""
        copy = planned.copy
        if planned.source_digest is None:
            raise ValueError(f"{copy.source}: a plan without a digest cannot be carried out")
        root = await self._reader.read(copy.source.repository, str(planned.source_digest))
        try:
            trimmed = await trim(self._reader, copy.source.repository, root, copy.platforms)
            if trimmed is None:
                raise ValueError(f"{copy.source}: planned, yet nothing is left of it")
            job = _Job(
                copy.source.repository,
                self._stores.source(copy.source.repository),
                copy.target.repository,
                self._stores.target(copy.target.repository),
                dict(trimmed.rewritten),
                probe=planned.replaces is not None and not force,
            )
            await self._push_root(job, trimmed.root, copy.target.identifier)
        except StoreError as error:  # All I/O names its side; what is left is a manifest that cannot be parsed.
            raise CopyFailed(error, side="source", step="read manifest") from error
        return job.transferred

    async def _push_root(self, job: _Job, root: RawManifest, identifier: str) -> None:
        """Put *root* and all it names into the target; only the identifier is new where another copy has done that."""
        fresh = False

        async def push() -> None:
            nonlocal fresh
            await self._push_tree(job, root, identifier, depth=1)
            fresh = True

        await self._manifests.do((job.repository, root.digest), push)
        if not fresh:
            await self._put_again(job, root, identifier)

    async def _put_again(self, job: _Job, root: RawManifest, identifier: str) -> None:
        """Give what is in the repository already one more identifier; all of it goes again where it has vanished."""
        try:
            await self._put(job, root, identifier)
        except CopyFailed as failure:
            if not isinstance(failure.cause, MissingContent):
                raise
            self._forget_parts(job, root)
            job.probe = False
            await self._push_tree(job, root, identifier, depth=1)

    async def _push_tree(self, job: _Job, raw: RawManifest, identifier: str, *, depth: int) -> None:
        await self._push_parts(job, raw, depth)
        try:
            await self._put(job, raw, identifier)
        except CopyFailed as failure:
            if not isinstance(failure.cause, MissingContent):
                raise
            # The target said that it had something, or we remembered so, and it has not: an interrupted push or a
            # garbage collection can do that. Look once more, without trusting what we knew.
            self._forget_parts(job, raw)
            job.probe = False
            await self._push_parts(job, raw, depth)
            await self._put(job, raw, identifier)

    async def _push_parts(self, job: _Job, raw: RawManifest, depth: int) -> None:
        """Put everything into the target that *raw* names."""
        job.visit(raw)
        match raw.parse():
            case Index(manifests):
                check_depth(depth, raw)
                children = {entry.digest: entry for entry in manifests}.values()
                await work_off(children, lambda entry: self._child(job, entry, depth + 1), width=_PARTS_AT_ONCE)
            case Manifest() as manifest:
                await work_off(manifest.blobs, lambda blob: self._blob(job, blob), width=_PARTS_AT_ONCE)

    def _forget_parts(self, job: _Job, raw: RawManifest) -> None:
        match raw.parse():
            case Index(manifests):
                for entry in manifests:
                    self._manifests.forget((job.repository, entry.digest))
            case Manifest() as manifest:
                for blob in manifest.blobs:
                    self._blobs.forget((job.repository, blob.digest))
                    self._placed.forget((job.repository.registry, blob.digest))

    async def _child(self, job: _Job, entry: Descriptor, depth: int) -> None:
        """Put the child manifest *entry* into the target, by digest."""

        async def push() -> None:
            if job.probe and await self._is_there(job, entry):
                return
            raw = job.rewritten.get(entry.digest) or await self._reader.read(job.origin, str(entry.digest))
            await self._push_tree(job, raw, str(entry.digest), depth=depth)

        await self._manifests.do((job.repository, entry.digest), push)

    async def _is_there(self, job: _Job, entry: Descriptor) -> bool:
        try:
            found = await job.target.resolve(str(entry.digest))
        except StoreError as error:
            raise CopyFailed(error, side="target", step="resolve") from error
        return found is not None

    async def _put(self, job: _Job, raw: RawManifest, identifier: str) -> None:
        try:
            await job.target.push_manifest(raw, identifier)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="push manifest") from error

    async def _blob(self, job: _Job, blob: Descriptor) -> None:
        """Make sure that the target repository holds *blob*."""
        fresh = False

        async def place() -> None:
            nonlocal fresh
            fresh = True
            await self._place(job, blob)

        await self._blobs.do((job.repository, blob.digest), place)
        if not fresh:
            job.count(existing=blob.size or 0)

    async def _place(self, job: _Job, blob: Descriptor) -> None:
        """Upload *blob* if this registry sees it for the first time in this run, mount it otherwise."""
        led = False

        async def lead() -> Repository:
            nonlocal led
            led = True
            await self._upload(job, blob)
            return job.repository

        holder = await self._placed.do((job.repository.registry, blob.digest), lead)
        if led:
            return
        if holder != job.repository and await self._mounted(job, blob, holder):
            job.count(mounted=blob.size or 0)
            return
        await self._upload(job, blob)

    async def _mounted(self, job: _Job, blob: Descriptor, holder: Repository) -> bool:
        try:
            return await job.target.mount(blob, holder)
        except StoreError as error:
            raise CopyFailed(error, side="target", step="mount blob") from error

    async def _upload(self, job: _Job, blob: Descriptor) -> None:
        reading = _Reading(job.source, blob, self._observer)
        try:
            if await job.target.has_blob(blob):
                job.count(existing=blob.size or 0)
                return
            reading.announce()
            await job.target.push_blob(blob, reading.open)
        except StoreError as error:
            reading.take_back()
            if error is reading.failure:
                raise CopyFailed(error, side="source", step="read blob") from error
            raise CopyFailed(error, side="target", step="push blob") from error
        job.count(copied=reading.read_bytes)


class _Reading:
    """A source blob as content to push: tells the observer what moves, and remembers whether reading is what failed."""

    def __init__(self, source: Source, blob: Descriptor, observer: Observer) -> None:
        self._source = source
        self._blob = blob
        self._observer = observer
        self.failure: StoreError | None = None
        self.read_bytes = 0
        self._announced_bytes = 0

    def announce(self) -> None:
        """Tell the observer that this blob has to be moved."""
        self._announced_bytes = self._blob.size or 0
        self._observer.found(self._announced_bytes)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the blob from byte 0 (an `Opener`)."""
        self._observer.moved(-self.read_bytes)
        self.read_bytes = 0
        async with AsyncExitStack() as stack:
            try:
                chunks = await stack.enter_async_context(self._source.open(self._blob))
            except StoreError as error:
                self.failure = error
                raise
            yield self._watched(chunks)

    async def _watched(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
        try:
            async for chunk in chunks:
                self.read_bytes += len(chunk)
                self._observer.moved(len(chunk))
                yield chunk
        except StoreError as error:
            self.failure = error
            raise

    def take_back(self) -> None:
        """Tell the observer that nothing of this blob was moved, nor will be now."""
        self._observer.moved(-self.read_bytes)
        self._observer.found(-self._announced_bytes)
