"""One repository of a layout as a source or target (`roles.Source`, `roles.Target`)."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import ContentMismatch, NotFound, Refused
from image_syncer.layout.index_file import Name
from image_syncer.layout.layout import Layout
from image_syncer.layout.layout_files import IndexEdit
from image_syncer.layout.thread_calls import in_thread
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository
from image_syncer.oci.referrer import is_referrer_tag, referrer_entry
from image_syncer.roles import Chunk, Fence, Opener


class _LayoutRepository:
    """What both roles share: the images of *layout* that have the name of *repository*."""

    def __init__(self, repository: Repository, layout: Layout) -> None:
        self._repository = repository
        self._layout = layout
        self._name = repository.path
        self._listed: Mapping[str, Digest | None] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._repository)!r})"

    async def referrers(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*: those in the index, and those of the tag schema."""
        return await in_thread(self._layout.files.referrers, self._name, subject, children)

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist."""
        return await in_thread(self._layout.files.legacy_tags, self._name, subject)

    def listed_referrer_tags(self) -> frozenset[str]:
        """Return the tags of the tag schema and of cosign in the last list of tags; empty if none was read."""
        return frozenset(filter(is_referrer_tag, self._listed))


class LayoutSource(_LayoutRepository):
    """A repository of a layout to read from."""

    async def resolve(self, identifier: str) -> Descriptor:
        """Return the descriptor of *identifier*; `NotFound`. A layout has no cheaper way than to read the manifest."""
        return (await self.manifest(identifier)).descriptor

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest at *identifier*, verified; `NotFound`."""
        return await in_thread(self._layout.files.manifest, self._name, identifier)

    @asynccontextmanager
    async def open(self, blob: Descriptor, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; size and digest are checked while bytes flow."""
        async with self._layout.open(self._repository, blob, start) as chunks:
            yield chunks

    async def tags(self) -> AsyncGenerator[str]:
        """Yield every tag in the order of the index; `NotFound` without the repository."""
        self._listed = await in_thread(self._layout.files.tags, self._name)
        for tag in self._listed:
            yield tag

    async def list_digests(self, wanted: int) -> None:
        """Do nothing: `tags` has read all digests."""

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return the digests of the tags that were listed."""
        return {tag: digest for tag, digest in self._listed.items() if digest is not None}

    def listed_dates(self) -> Mapping[str, datetime]:
        """Return nothing: a layout has no dates of its tags."""
        return {}


class LayoutTarget(_LayoutRepository):
    """A repository of a layout to write to. A blob is there when it is whole; the index changes in one step."""

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return the descriptor of *identifier*; None if it or the layout does not exist yet, or is damaged."""
        try:
            return (await in_thread(self._layout.files.manifest, self._name, identifier)).descriptor
        except (NotFound, ContentMismatch):
            return None

    async def is_new(self) -> bool:
        """Return False: looking for a blob costs nothing here."""
        return False

    async def has_blob(self, blob: Descriptor, *, expected: bool = False) -> bool:
        """Whether the layout holds *blob* with its size, whether *expected* or not."""
        del expected
        return await in_thread(self._layout.files.has, blob)

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Write *blob*; wrong bytes never get its name (`ContentMismatch`)."""
        await self._layout.push_blob(blob, content)

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Whether *origin* is in the same layout, and that holds *blob*: its repositories share all blobs."""
        return origin.registry == self._repository.registry and await self.has_blob(blob)

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Write *manifest*, and list it in the index; `MissingContent` if the layout lacks content it names."""
        if ":" in identifier:
            if identifier != str(manifest.digest):
                raise Refused(f"{self._repository}@{identifier}: the content has digest {manifest.digest}")
            await self._push(manifest, None, manifest.descriptor, fence)
        else:
            await self._push(manifest, (self._name, identifier), manifest.descriptor, fence)

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Point *tags* to *manifest* with one write of the index."""
        await for_each(tags, lambda tag: self.push_manifest(manifest, tag, fence), width=len(tags))
        return frozenset(tags)

    async def push_referrer(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Write *manifest*, which has a subject, and list it in the index, which makes it a referrer: True."""
        await self._push(manifest, None, referrer_entry(manifest), fence)
        return True

    async def list_referrers(self, subject: Digest, entries: Sequence[Descriptor], fence: Fence | None = None) -> None:
        """List *entries* in the index, as far as they are not."""
        del subject  # Each manifest names it.
        for entry in entries:
            await self._layout.change(IndexEdit(None, entry), fence)

    async def _push(self, manifest: RawManifest, name: Name | None, entry: Descriptor, fence: Fence | None) -> None:
        what = f"{self._repository}: {manifest.digest}"
        await self._layout.prepare()

        def write() -> tuple[Digest, ...]:
            children = self._layout.files.check_parts(manifest, what)
            self._layout.files.write_manifest(manifest, what)
            return children

        await self._layout.change(IndexEdit(name, entry, await in_thread(write)), fence)
