"""One repository in the role of a source or of a target (`store.Source`, `store.Target`)."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from image_syncer.cache import DigestCheckpoints
from image_syncer.errors import NotFound, Side
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository
from image_syncer.registry.blobs.blobs import Blobs
from image_syncer.registry.blobs.open_upload import OpenUpload
from image_syncer.registry.blobs.upload import BlobUpload
from image_syncer.registry.blobs.upload_session import UploadSessions
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.listing import list_tags
from image_syncer.registry.manifests import Manifests
from image_syncer.roles import Chunk, Fence, Opener, UploadJournal

Connect = Callable[[Repository], Awaitable[RegistryClient]]
"""Finds the registry of a repository under the access that holds for it; quick, once that is known."""


class _RegistryRepository:
    """What both roles share: every request is one conversation, begun when the access is known."""

    def __init__(self, repository: Repository, side: Side, connect: Connect) -> None:
        self._repository = repository
        self._side: Side = side
        self._connect = connect
        self._sessions = UploadSessions()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._repository)!r})"

    async def _conversation(self) -> RepositoryRequests:
        return RepositoryRequests(await self._connect(self._repository), self._repository, self._side)

    async def _manifests(self) -> Manifests:
        return Manifests(await self._conversation())

    async def _blobs(self) -> Blobs:
        return Blobs(await self._conversation(), self._sessions)


class RegistrySource(_RegistryRepository):
    """A repository to read from; asks for the right to pull, and no other. Its reads leave their *trails*."""

    def __init__(self, repository: Repository, connect: Connect, trails: DigestCheckpoints) -> None:
        super().__init__(repository, "source", connect)
        self._trails = trails
        self._listed: dict[str, Digest] = {}

    async def resolve(self, identifier: str) -> Descriptor:
        """Return what the tag or digest *identifier* names now, by a HEAD; `NotFound` if it names nothing."""
        return await (await self._manifests()).head(identifier)

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified; `NotFound`."""
        return await (await self._manifests()).get(identifier)

    @asynccontextmanager
    async def open(self, blob: Descriptor, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; size and digest are checked while bytes flow."""
        async with (await self._blobs()).open(blob, self._trails, start) as chunks:
            yield chunks

    async def tags(self) -> AsyncGenerator[str]:
        """Yield every tag in the registry's order, one page at a time; `NotFound` without the repository."""
        async for tag in list_tags(await self._conversation(), self._listed):
            yield tag

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return what the listing of `tags` has said that tags name; most registries say nothing."""
        return self._listed


class RegistryTarget(_RegistryRepository):
    """A repository to write to; asks for the rights to pull and push from its first request on.

    Uploads that end before their time are noted in *journal*, and gone on with from there.
    """

    def __init__(self, repository: Repository, connect: Connect, journal: UploadJournal) -> None:
        super().__init__(repository, "target", connect)
        self._journal = journal

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return what *identifier* names now; None if it, or the repository, is not there yet.

        A 401 or 403 stays an error: from a registry that hides what is missing it can not be told from a lack of
        rights, and then a push would fail as well, only later.
        """
        try:
            return await (await self._manifests()).head(identifier)
        except NotFound:
            return None

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds *blob*."""
        return await (await self._blobs()).has(blob)

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*, reading *content* once per attempt; what *content* raises comes out unchanged."""
        conversation = await self._conversation()
        upload = OpenUpload(conversation, self._sessions, self._journal, blob)
        await BlobUpload(conversation, upload, blob, content).run()

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Take *blob* over from the repository *origin* of the same registry; False means "then push"."""
        if origin.registry != self._repository.registry:
            return False
        return await (await self._blobs()).mount(blob, origin)

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` where it names what is not there."""
        await (await self._manifests()).put(manifest, identifier, fence)

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Give *manifest* as many of *tags* as one request can; return those that the registry confirmed."""
        return await (await self._manifests()).put_tags(manifest, tags, fence)
