"""One repository of a registry as a source or target (`roles.Source`, `roles.Target`)."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from image_syncer.cache import DigestCheckpoints
from image_syncer.errors import Denied, NotFound, Side, StoreError, Unauthorized
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository
from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.registry.blobs.blobs import Blobs
from image_syncer.registry.blobs.new_repository import NewRepository
from image_syncer.registry.blobs.upload import BlobUpload
from image_syncer.registry.blobs.upload_session import UploadSessions
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.listing import list_tags
from image_syncer.registry.manifests import Manifests, ReadAhead
from image_syncer.registry.referrers import Referrers
from image_syncer.roles import Chunk, Fence, Opener, UploadJournal

_SHORT_LIST_PAGES: Final = 2
_REFUSALS: Final = (NotFound, Unauthorized, Denied)  # Those that a missing repository may have.
_NO_TAGS: Final[frozenset[str]] = frozenset()

LEAST_TAGS: Final = 10
"""Fewer tags are resolved by a HEAD each, rather than by a vendor's listing."""

if TYPE_CHECKING:
    from image_syncer.registry.preparing.preparations import Preparations
    from image_syncer.registry.tag_lists.bulk_listing import BulkListings

Connect = Callable[[Repository], Awaitable[RegistryClient]]
"""Returns the client for a repository, with the account that applies to it; cached after the first call."""

PreparationsOf = Callable[[], "Preparations"]
"""Returns what creates missing repositories; the same object each time."""

BulkListingsOf = Callable[[], "BulkListings"]
"""Returns what lists digests in bulk; the same object each time."""


class _RegistryRepository:
    """What both roles share; the client is looked up with each operation, since the first one may need credentials."""

    # Slots, since a run of 20 000 rules has 40 000 of these.
    __slots__ = ("_connect", "_known", "_read_ahead", "_repository", "_sessions", "_side")

    def __init__(self, repository: Repository, side: Side, connect: Connect) -> None:
        self._repository = repository
        self._side: Side = side
        self._connect = connect
        self._sessions: UploadSessions | None = None
        self._known: RepositoryRequests | None = None
        self._read_ahead: ReadAhead | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._repository)!r})"

    async def _requests(self) -> RepositoryRequests:
        if self._known is None:
            self._known = RepositoryRequests(await self._connect(self._repository), self._repository, self._side)
        return self._known

    async def _manifests(self) -> Manifests:
        return Manifests(await self._requests(), self._read_ahead)

    async def _referrers(self) -> Referrers:
        requests = await self._requests()
        return Referrers(requests, Manifests(requests, self._read_ahead), self._listed_referrer_tags)

    async def referrers(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*, by the referrers API or else by the tag schema."""
        return await (await self._referrers()).find(subject, children)

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist; without a request if the tag list was read before."""
        return await (await self._referrers()).legacy_tags(subject)

    def listed_referrer_tags(self) -> frozenset[str]:
        """Return the tags of the tag schema and of cosign in the last list of tags; empty if none was read."""
        return frozenset()

    async def _listed_referrer_tags(self) -> frozenset[str] | None:
        """Return the tags of the tag schema and of cosign; None if the tag list is not known."""
        return None

    async def _blobs(self) -> Blobs:
        return Blobs(await self._requests(), self._upload_sessions())

    def _upload_sessions(self) -> UploadSessions:
        self._sessions = self._sessions or UploadSessions()
        return self._sessions


class RegistrySource(_RegistryRepository):
    """A repository to read from, with the right to pull only. Reads of large blobs record *checkpoints*.

    *read_ahead* is shared by all sources of a run. *bulk_listings* returns what lists digests in bulk.
    """

    __slots__ = (
        "_bulk_listed_at",
        "_bulk_listing",
        "_bulk_listings",
        "_checkpoints",
        "_is_long",
        "_listed",
        "_listed_at",
        "_listed_dates",
        "_needed_since",
        "_referrer_tags",
        "_short_listing",
    )

    def __init__(
        self,
        repository: Repository,
        connect: Connect,
        checkpoints: DigestCheckpoints,
        read_ahead: ReadAhead,
        bulk_listings: BulkListingsOf,
    ) -> None:
        super().__init__(repository, "source", connect)
        self._bulk_listings = bulk_listings
        self._read_ahead = read_ahead
        self._checkpoints = checkpoints
        self._listed: dict[str, Digest] = {}
        self._listed_dates: dict[str, datetime] = {}
        self._referrer_tags: frozenset[str] | None = None
        self._listed_at = 0.0
        self._needed_since = 0.0
        self._short_listing: asyncio.Lock | None = None
        self._is_long = False
        self._bulk_listing: asyncio.Lock | None = None
        self._bulk_listed_at = 0.0

    async def resolve(self, identifier: str) -> Descriptor:
        """Return the descriptor of the tag or digest *identifier*, by a HEAD; `NotFound` if there is none."""
        return await (await self._manifests()).head(identifier)

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified; `NotFound`."""
        return await (await self._manifests()).get(identifier)

    @asynccontextmanager
    async def open(self, blob: Descriptor, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; size and digest are checked while bytes flow."""
        async with (await self._blobs()).open(blob, self._checkpoints, start) as chunks:
            yield chunks

    async def tags(self) -> AsyncGenerator[str]:
        """Yield every tag in the registry's order, one page at a time; `NotFound` without the repository."""
        async with aclosing(self._list(None)) as tags:
            async for tag in tags:
                yield tag

    async def _list(self, most_pages: int | None) -> AsyncGenerator[str]:
        """Yield every tag; keep those of referrers once the whole list was read."""
        began = time.monotonic()
        referrer_tags: list[str] = []
        requests = await self._requests()
        self._listed.clear()  # Digests of an earlier list are too old, and this one may include none.
        self._listed_dates.clear()
        async for tag in list_tags(requests, self._listed, self._listed_dates, most_pages=most_pages):
            if is_referrer_tag(tag):
                referrer_tags.append(tag)
            yield tag
        self._referrer_tags, self._listed_at = frozenset(referrer_tags) if referrer_tags else _NO_TAGS, began

    def listed_referrer_tags(self) -> frozenset[str]:
        """Return the tags of the tag schema and of cosign in the last list of tags; empty if none was read."""
        return self._referrer_tags or frozenset()

    def need_listing(self, since: float) -> None:
        """Use no list of tags that was read before *since* (`time.monotonic`): tags of referrers were added since."""
        self._needed_since = max(self._needed_since, since)

    @property
    def _is_listed(self) -> bool:
        return self._referrer_tags is not None and self._listed_at >= self._needed_since

    async def _listed_referrer_tags(self) -> frozenset[str] | None:
        """Read the tag list once, if it is short: that answers for all images of the repository."""
        self._short_listing = self._short_listing or asyncio.Lock()
        async with self._short_listing:
            if not self._is_listed and not self._is_long:
                try:
                    async with aclosing(self._list(_SHORT_LIST_PAGES)) as tags:
                        async for _ in tags:
                            pass
                except StoreError:  # A long list, or one that may not be read: ask for each tag.
                    self._is_long = True
        return self._referrer_tags if self._is_listed else None

    async def list_digests(self, wanted: int) -> None:
        """Read the digests of tags by the vendor's own listing, once per list of tags, or check those in that list."""
        self._bulk_listing = self._bulk_listing or asyncio.Lock()
        async with self._bulk_listing:
            is_wanted = wanted >= LEAST_TAGS or (wanted and self._listed)  # Another rule may want more of them.
            if self._bulk_listed_at == self._listed_at or not is_wanted:
                return
            self._bulk_listed_at = self._listed_at
            if self._listed:
                found = await self._bulk_listings().check(self._repository, self._listed, self._listed_dates)
            else:
                found = await self._bulk_listings().read(self._repository, wanted)
            self._listed = {one.tag: one.digest for one in found}
            self._listed_dates = {one.tag: one.since for one in found if one.since is not None}

    def forget_listed(self, tag: str) -> None:
        """Drop the listed digest of *tag*: it may have moved since, so the next question is a HEAD."""
        self._listed.pop(tag, None)
        self._listed_dates.pop(tag, None)

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return the digests that the listing of `tags` included; most registries include none."""
        return self._listed

    def listed_dates(self) -> Mapping[str, datetime]:
        """Return since when tags hold their `listed_digests`; most registries list no dates."""
        return self._listed_dates


class RegistryTarget(_RegistryRepository):
    """A repository to write to, with the rights to pull and push from its first request on.

    *journal* records unfinished uploads, so that a later process can resume them. *preparations* returns what creates
    a missing repository.
    """

    __slots__ = ("_index_locks", "_journal", "_new", "_preparations")

    def __init__(
        self, repository: Repository, connect: Connect, journal: UploadJournal, preparations: PreparationsOf
    ) -> None:
        super().__init__(repository, "target", connect)
        self._journal = journal
        self._preparations = preparations
        self._new = NewRepository()
        # One lock per subject, so that copies of this process do not overwrite each other's index; it lives while used.
        self._index_locks: WeakValueDictionary[Digest, asyncio.Lock] | None = None

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return the descriptor of *identifier*; None if it or the repository does not exist yet.

        A 401 or 403 stays an error: registries that hide missing repositories answer the same for a lack of rights,
        and then a push would fail too, only later. If the push may create the repository, it tells the two apart.
        """
        try:
            found = await (await self._manifests()).head(identifier)
        except NotFound:
            return None
        except (Unauthorized, Denied):
            if await self._preparations().hides(self._repository):
                return None
            raise
        self._new.note_exists()
        return found

    async def is_new(self) -> bool:
        """Whether the registry did not know the repository at the first call; asked again after five minutes."""
        return await self._new.is_new(await self._requests())

    async def has_blob(self, blob: Descriptor, *, expected: bool = False) -> bool:
        """Whether the repository is known to hold *blob*; a small one of a new repository costs no request."""
        if not expected and await self._new.lacks(blob, await self._requests()):
            return False
        try:
            return await (await self._blobs()).has(blob)
        except (Unauthorized, Denied):
            if await self._preparations().hides(self._repository):
                return False
            raise

    async def would_create(self) -> str | None:
        """Return what a push may have to create, in words; None if nothing, or if the repository has an image."""
        return None if self._new.is_known else await self._preparations().announce(self._repository)

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*, reading *content* once per attempt; errors of *content* are raised unchanged."""
        requests = await self._requests()
        upload = BlobUpload(requests, self._upload_sessions(), self._journal, blob, content)
        try:
            await upload.run()
        except _REFUSALS as error:
            if error is upload.source_failure:
                raise
            await self._push_blob_again(error, blob, content)
        self._new.note_pushed(blob.digest)

    async def _push_blob_again(self, refusal: StoreError, blob: Descriptor, content: Opener) -> None:
        """Create what the repository lacks, and push *blob* again; raises *refusal* if that is not the reason."""
        requests = await self._requests()
        uploads: list[BlobUpload] = []

        async def push() -> None:
            uploads.append(BlobUpload(requests, self._upload_sessions(), self._journal, blob, content))
            await uploads[-1].run()

        def is_unrelated(error: StoreError) -> bool:
            return error is uploads[-1].source_failure

        await self._preparations().push_again(self._repository, refusal, push, is_unrelated)

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Mount *blob* from the repository *origin* of the same registry; False means "then push"."""
        if origin.registry != self._repository.registry:
            return False
        blobs = await self._blobs()
        mounted = await blobs.mount(blob, origin)
        refusal = blobs.mount_refusal
        if not mounted and isinstance(refusal, _REFUSALS):
            with suppress(StoreError):  # The push that follows reports what cannot be created.
                await self._preparations().create_missing(self._repository, refusal)
                mounted = await blobs.mount(blob, origin)
        if mounted:
            self._new.note_pushed(blob.digest)
        return mounted

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` if the target lacks content it names."""
        manifests = await self._manifests()
        try:
            await manifests.put(manifest, identifier, fence)
        except _REFUSALS as error:
            again = partial(manifests.put, manifest, identifier, fence)
            await self._preparations().push_again(self._repository, error, again, lambda _: False)
        self._new.note_exists()

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Tag *manifest* with as many of *tags* as one request can carry; return the confirmed ones."""
        return await (await self._manifests()).put_tags(manifest, tags, fence)

    async def push_referrer(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Store *manifest*, which has a subject, by its digest; whether the registry lists it by itself."""
        return await (await self._referrers()).push(manifest, fence)

    async def list_referrers(self, subject: Digest, entries: Sequence[Descriptor], fence: Fence | None = None) -> None:
        """Add *entries* to the index of the tag schema of *subject*, keeping what others put there meanwhile."""
        if self._index_locks is None:
            self._index_locks = WeakValueDictionary()
        lock = self._index_locks.setdefault(subject, asyncio.Lock())
        async with lock:
            await (await self._referrers()).add_to_index(subject, entries, fence)
