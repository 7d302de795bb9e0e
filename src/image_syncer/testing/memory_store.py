"""Stores in memory: they check all that a good registry checks, and fail on request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from image_syncer.cache import skipped, verified
from image_syncer.errors import MissingContent, NotFound, Refused, Side, StoreError, Unavailable
from image_syncer.oci import Descriptor, Digest, Index, RawManifest, Repository, Verifier
from image_syncer.oci.referrer import (
    is_referrer_tag,
    legacy_tags,
    merge_referrers,
    parse_referrers,
    referrer_entry,
    referrers_tag,
)
from image_syncer.roles import Chunk, Fence, Opener
from image_syncer.testing.content import Blob, Image

Step = Literal[
    "resolve",
    "manifest",
    "open",
    "tags",
    "has_blob",
    "push_blob",
    "mount",
    "push_manifest",
    "push_tags",
    "referrers",
    "legacy_tags",
    "push_referrer",
    "list_referrers",
]
_FOR_EVER: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a role's method: the *step*, and its tag or digest (empty for a listing)."""

    step: Step
    identifier: str


@dataclass(slots=True)
class _Trouble:
    step: Step | None
    identifier: str | None
    error: StoreError
    times: int

    def meets(self, call: Operation) -> bool:
        return self.times > 0 and self.step in {None, call.step} and self.identifier in {None, call.identifier}


class MemoryStore:
    """One repository in memory; *source* and *target* are its two roles.

    Tests may inspect and change its content (*manifests*, *tags*, *blobs*). *operations* lists every call in order, and
    *watch* receives each call. With *many_tags* one push may set several tags. Every call about a digest in *fail_on*
    raises `Unavailable`. With *tells* listings report what tags name. Without *referrers_api* only the tag schema lists
    referrers.
    """

    def __init__(
        self,
        repository: Repository | None = None,
        *,
        fail_on: Iterable[Digest] = (),
        family: "MemoryStores | None" = None,
    ) -> None:
        self.repository = repository or Repository("memory.test", "app")
        self.manifests: dict[Digest, RawManifest] = {}
        self.tags: dict[str, Digest] = {}
        self.tells = False
        self.dates: dict[str, datetime] = {}
        self.blobs: dict[Digest, Blob] = {}
        self.operations: list[Operation] = []
        self.source = MemorySource(self)
        self.target = MemoryTarget(self, family)
        self.many_tags = False
        self.referrers_api = True
        self.watch: Callable[[Operation], None] = lambda _: None
        self._troubles: list[_Trouble] = []
        for digest in fail_on:
            self.fail(None, digest, times=_FOR_EVER)

    def load(self, image: Image, *tags: str) -> None:
        """Store *image* under *tags*; this counts as no operation."""
        self.blobs |= image.blobs
        self.manifests |= {raw.digest: raw for raw in image.manifests}
        self.tags |= dict.fromkeys(tags, image.digest)

    def replace_blob(self, digest: Digest, content: bytes) -> None:
        """Replace the bytes of the blob *digest*, if it is here."""
        if digest in self.blobs:
            self.blobs[digest] = Blob.of(content)

    def fail(self, step: Step | None, about: object = None, error: StoreError | None = None, *, times: int = 1) -> None:
        """Make the next *times* calls at *step* about the tag or digest *about* raise *error*; None matches any."""
        identifier = None if about is None else str(about)
        trouble = error or Unavailable(f"{self.repository}: {identifier or step}: told to fail", status=503)
        self._troubles.append(_Trouble(step, identifier, trouble, times))

    def count(self, step: Step, about: object = None) -> int:
        """Return how often *step* was called (about the tag or digest *about*)."""
        identifier = None if about is None else str(about)
        return sum(call.step == step and identifier in {None, call.identifier} for call in self.operations)

    def find(self, identifier: str) -> RawManifest | None:
        """Return the manifest at a tag or digest, None if there is none; this counts as no operation."""
        digest = Digest.parse(identifier) if ":" in identifier else self.tags.get(identifier)
        return self.manifests.get(digest) if digest else None

    def attached(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return the entries of the referrers of *subject*; this counts as no operation."""
        if not self.referrers_api:
            index = self.find(referrers_tag(subject))
            return () if index is None else parse_referrers(index, subject)
        named = ((raw, raw.parse().subject) for raw in self.manifests.values() if raw.digest != subject)
        return tuple(referrer_entry(raw) for raw, of in named if of is not None and of.digest == subject)

    def attached_tags(self, subject: Digest) -> dict[str, Descriptor]:
        """Return the legacy tags of *subject*; this counts as no operation."""
        return {tag: raw.descriptor for tag in legacy_tags(subject) if (raw := self.find(tag)) is not None}

    async def note(self, step: Step, identifier: str = "") -> None:
        """Count a call, and raise the error ordered for it."""
        self.operations.append(call := Operation(step, identifier))
        self.watch(call)
        await asyncio.sleep(0)  # Yield to other tasks, as a real store does.
        for trouble in self._troubles:
            if trouble.meets(call):
                trouble.times -= 1
                raise trouble.error


class MemorySource:
    """A `MemoryStore` as a `Source`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def resolve(self, identifier: str) -> Descriptor:
        """Return the descriptor of *identifier*; `NotFound`."""
        await self._store.note("resolve", identifier)
        return self._find(identifier).descriptor

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest at *identifier*; `NotFound`."""
        await self._store.note("manifest", identifier)
        return self._find(identifier)

    def open(self, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open *blob* from *start*; `NotFound`, and `ContentMismatch` while reading."""
        return self._open(blob, start)

    async def tags(self) -> AsyncIterator[str]:
        """Yield every tag; `NotFound` if nothing was ever pushed."""
        await self._store.note("tags")
        if not self._store.manifests and not self._store.blobs:
            raise NotFound(f"{self._store.repository}: not there", status=404, code="NAME_UNKNOWN")
        for tag in sorted(self._store.tags):
            yield tag

    def listed_referrer_tags(self) -> Collection[str]:
        """Return the tags of referrers, if a list of tags was read."""
        was_read = any(call.step == "tags" for call in self._store.operations)
        return frozenset(filter(is_referrer_tag, self._store.tags)) if was_read else frozenset()

    async def list_digests(self, wanted: int) -> None:
        """Do nothing: all digests are listed, or none."""

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return the descriptors of tags, if the store has *tells* set."""
        return dict(self._store.tags) if self._store.tells else {}

    def listed_dates(self) -> Mapping[str, datetime]:
        """Return the dates of tags, if the store has *tells* set."""
        return dict(self._store.dates) if self._store.tells else {}

    async def referrers(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*."""
        del children  # Lists here are no indexes of images.
        await self._store.note("referrers", str(subject))
        return self._store.attached(subject)

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist."""
        await self._store.note("legacy_tags", str(subject))
        return self._store.attached_tags(subject)

    def _find(self, identifier: str) -> RawManifest:
        found = self._store.find(identifier)
        if found is None:
            raise NotFound(f"{self._store.repository}: {identifier}: not there", status=404, code="MANIFEST_UNKNOWN")
        return found

    @asynccontextmanager
    async def _open(self, blob: Descriptor, start: int) -> AsyncGenerator[AsyncIterator[Chunk]]:
        await self._store.note("open", str(blob.digest))
        what = f"{self._store.repository}: {blob.digest}"
        held = self._store.blobs.get(blob.digest)
        if held is None:
            raise NotFound(f"{what}: not there", status=404, code="BLOB_UNKNOWN")
        verifier = Verifier(blob.digest, blob.size, what)
        async with (
            held.open() as chunks,
            aclosing(skipped(verified(_each(chunks), verifier), start)) as checked,
        ):
            yield checked


class MemoryTarget:
    """A `MemoryStore` as a `Target`."""

    def __init__(self, store: MemoryStore, family: "MemoryStores | None") -> None:
        self._store = store
        self._family = family

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return the descriptor of *identifier*, None if there is none."""
        await self._store.note("resolve", identifier)
        found = self._store.find(identifier)
        return found.descriptor if found else None

    async def is_new(self) -> bool:
        """Return False: looking for a blob costs nothing here."""
        return False

    async def has_blob(self, blob: Descriptor, *, expected: bool = False) -> bool:
        """Whether *blob* is here, whether *expected* or not."""
        del expected
        await self._store.note("has_blob", str(blob.digest))
        return blob.digest in self._store.blobs

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob* after verifying all its bytes; `ContentMismatch`."""
        await self._store.note("push_blob", str(blob.digest))
        what = f"{self._store.repository}: {blob.digest}"
        verifier = Verifier(blob.digest, blob.size, what)
        async with content() as chunks, aclosing(verified(_each(chunks), verifier)) as checked:
            whole = b"".join([bytes(chunk) async for chunk in checked])
        self._store.blobs[blob.digest] = Blob.of(whole, blob.media_type, algorithm=blob.digest.algorithm)

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Mount *blob* from the repository *origin* if it is there."""
        await self._store.note("mount", str(blob.digest))
        if self._family is None or origin.registry != self._store.repository.registry:
            return False
        held = self._family.store(origin).blobs.get(blob.digest)
        if held is not None:
            self._store.blobs[blob.digest] = held
        return held is not None

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest*; `MissingContent` if content that it names is missing, `Refused` at another digest."""
        if fence is not None:
            await fence.check()
        await self._store.note("push_manifest", identifier)
        what = f"{self._store.repository}: {identifier}"
        if ":" in identifier and identifier != str(manifest.digest):
            raise Refused(f"{what}: the content has digest {manifest.digest}", status=400, code="DIGEST_INVALID")
        for part in _parts(manifest):
            if part not in self._store.blobs and part not in self._store.manifests:
                raise MissingContent(f"{what}: names {part}, not there", status=404, code="MANIFEST_BLOB_UNKNOWN")
        self._store.manifests[manifest.digest] = manifest
        if ":" not in identifier:
            self._store.tags[identifier] = manifest.digest

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Point *tags* to *manifest*, which is here, if *many_tags* is set; otherwise set none."""
        if not self._store.many_tags:
            return frozenset()
        if fence is not None:
            await fence.check()
        await self._store.note("push_tags", ",".join(tags))
        if manifest.digest not in self._store.manifests:
            raise NotFound(
                f"{self._store.repository}: {manifest.digest}: not there", status=404, code="MANIFEST_UNKNOWN"
            )
        self._store.tags |= dict.fromkeys(tags, manifest.digest)
        return frozenset(tags)

    def listed_referrer_tags(self) -> Collection[str]:
        """Return no tags: a target's are not listed."""
        return ()

    async def referrers(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*."""
        del children  # Lists here are no indexes of images.
        await self._store.note("referrers", str(subject))
        return self._store.attached(subject)

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist."""
        await self._store.note("legacy_tags", str(subject))
        return self._store.attached_tags(subject)

    async def push_referrer(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Store *manifest* by its digest; True with the referrers API."""
        await self._store.note("push_referrer", str(manifest.digest))
        await self.push_manifest(manifest, str(manifest.digest), fence)
        return self._store.referrers_api

    async def list_referrers(self, subject: Digest, entries: Sequence[Descriptor], fence: Fence | None = None) -> None:
        """Add *entries* to the index of the tag schema of *subject*."""
        await self._store.note("list_referrers", str(subject))
        merged = merge_referrers(self._store.find(referrers_tag(subject)), entries)
        if merged is not None:
            if fence is not None:
                await fence.check()
            self._store.manifests[merged.digest] = merged
            self._store.tags[referrers_tag(subject)] = merged.digest


class MemoryCatalogue:
    """The repositories of one registry in memory that have content. *error* is raised instead; *times* counts reads."""

    def __init__(self, stores: "MemoryStores", registry: str) -> None:
        self._stores = stores
        self._registry = registry
        self.error: StoreError | None = None
        self.times = 0

    async def repositories(self) -> AsyncIterator[Sequence[Repository]]:
        """Yield all of them as one page."""
        self.times += 1
        if self.error is not None:
            raise self.error
        found = (store for store in self._stores if store.manifests or store.blobs)
        yield [store.repository for store in found if store.repository.registry == self._registry]


class MemoryStores:
    """Repositories of any registry, created on first use; implements `Stores`."""

    def __init__(self) -> None:
        self._stores: dict[Repository, MemoryStore] = {}
        self.catalogues: dict[str, MemoryCatalogue] = {}

    def __iter__(self) -> Iterator[MemoryStore]:
        return iter(tuple(self._stores.values()))

    def store(self, repository: Repository | str) -> MemoryStore:
        """Return the store of *repository*, empty if it is new."""
        if isinstance(repository, str):
            repository = Repository.parse(repository)
        if repository not in self._stores:
            self._stores[repository] = MemoryStore(repository, family=self)
        return self._stores[repository]

    def source(self, repository: Repository) -> MemorySource:
        """Return *repository* as a source."""
        return self.store(repository).source

    def target(self, repository: Repository) -> MemoryTarget:
        """Return *repository* as a target."""
        return self.store(repository).target

    def referrer_source(self, repository: Repository) -> MemorySource:
        """Return *repository* as a source of referrers."""
        return self.store(repository).source

    def referrer_target(self, repository: Repository) -> MemoryTarget:
        """Return *repository* as a target of referrers."""
        return self.store(repository).target

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Do nothing: memory is near."""
        del repository, side, connections

    def is_far(self, registry: str) -> bool:
        """Return False: memory is near, whatever the name of the *registry*."""
        del registry
        return False

    async def catalogue(self, repository: Repository) -> "MemoryCatalogue":
        """Return the list of repositories at the registry of *repository*; the same object each time."""
        return self.catalogues.setdefault(repository.registry, MemoryCatalogue(self, repository.registry))

    def count(self, step: Step, about: object = None) -> int:
        """Return how often *step* was called (about the tag or digest *about*) in all repositories."""
        return sum(store.count(step, about) for store in self)


def _parts(manifest: RawManifest) -> list[Digest]:
    """Return the content required before *manifest*; a subject is optional (distribution-spec, "Pushing manifests")."""
    parsed = manifest.parse()
    return [part.digest for part in (parsed.manifests if isinstance(parsed, Index) else parsed.blobs)]


async def _each(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
    async for chunk in chunks:
        yield chunk
