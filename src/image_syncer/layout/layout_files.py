"""The manifests and blobs of one layout. Blocking, and safe to use from several threads."""

import contextlib
import hashlib
import threading
from collections.abc import Collection, Mapping, Sequence

from image_syncer.errors import ContentMismatch, MissingContent, NotFound, ProtocolError, Refused, TooLarge
from image_syncer.layout.index_file import LayoutIndex, Name
from image_syncer.layout.layout_storage import Storage
from image_syncer.layout.safe_files import BlobFile
from image_syncer.oci import Descriptor, Digest, Index, RawManifest
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.oci.referrer import (
    REFERRERS_LIMIT,
    legacy_tags,
    parse_referrers,
    referrer_entry,
    referrers_tag,
)
from image_syncer.structs import Struct, replace


class IndexEdit(Struct):
    """Add *entry* to the index, under *name* if there is one; entries of its *children* without a name are dropped."""

    name: Name | None
    entry: Descriptor
    children: tuple[Digest, ...] = ()


class LayoutFiles:
    """The content of the layout in *storage*. The index is read again whenever its file has changed."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.RLock()
        self._index: LayoutIndex | None = None
        self._version: object = None
        self._content = b""
        """The digest of the bytes of the index that was read or written last."""
        self._attached: dict[Digest, tuple[Digest, Descriptor] | None] = {}
        """Of listed manifests: the subject, and the entry that lists them as its referrer; None without a subject."""

    @property
    def storage(self) -> Storage:
        """The files."""
        return self._storage

    def manifest(self, name: str, identifier: str) -> RawManifest:
        """Return the manifest at the tag or digest *identifier*, verified; `NotFound`."""
        what = f"{self._storage.what}: {identifier}"
        with self._lock:
            if ":" not in identifier:
                entry = self._read_index().find(name, identifier)
                return self._read_manifest(entry.digest, entry, what)
            digest = Digest.parse(identifier)
            listed = self._read_index().find_digest(digest)
        if listed is not None:
            return self._read_manifest(digest, listed, what)
        try:
            return self._read_manifest(digest, None, what)
        except (ProtocolError, TooLarge) as error:
            raise NotFound(f"{what}: a blob, no manifest") from error

    def tags(self, name: str) -> Mapping[str, Digest | None]:
        """Return the tags of the repository *name*, as `LayoutIndex.tags` does; `NotFound` without the repository."""
        with self._lock:
            tags = self._read_index().tags(name)
        if name and not tags:
            raise NotFound(f"{self._storage.what}: no images with the name {name}")
        return tags

    def has(self, blob: Descriptor) -> bool:
        """Whether *blob* is here, with its size."""
        try:
            with contextlib.closing(self._storage.open(blob.digest)) as file:
                return blob.size in {None, file.size}
        except NotFound:
            return False

    def open(self, blob: Descriptor) -> BlobFile:
        """Open *blob*; `NotFound`, or `ContentMismatch` if it has another size."""
        file = self._storage.open(blob.digest)
        if blob.size in {None, file.size}:
            return file
        file.close()
        raise ContentMismatch(
            f"{self._storage.what}: {blob.digest}: {file.size} bytes, not {blob.size}",
            remedy="the layout is damaged: write this image to it again",
        )

    def check_parts(self, manifest: RawManifest, what: str) -> tuple[Digest, ...]:
        """Return the digests of the entries of an index; `MissingContent` if any part of *manifest* is not here."""
        parsed = manifest.parse()
        parts = parsed.manifests if isinstance(parsed, Index) else parsed.blobs
        for part in parts:
            if not self.has(part):
                raise MissingContent(f"{what}: names {part.digest}, which the layout does not hold")
        return tuple(part.digest for part in parts) if isinstance(parsed, Index) else ()

    def write_manifest(self, manifest: RawManifest, what: str) -> None:
        """Write the bytes of *manifest*; `Refused` if its digest is not that of its bytes."""
        digest = manifest.digest
        if Digest.of(manifest.content, digest.algorithm) != digest:
            raise Refused(
                f"{what}: a signed manifest of Docker schema 1, whose digest is not that of its bytes",
                remedy="a layout cannot hold it",
            )
        with contextlib.suppress(NotFound), contextlib.closing(self._storage.open(digest)) as file:
            if file.size == len(manifest.content) and file.read(0, file.size) == manifest.content:
                return
        partial = self._storage.begin(digest, len(manifest.content))
        try:
            partial.write(manifest.content[partial.offset :])
            partial.commit()
        except BaseException:
            partial.abandon(keep=False)
            raise

    def apply(self, edits: Sequence[IndexEdit]) -> None:
        """Write the index with *edits*; the storage is locked."""
        with self._lock:
            try:
                index = self._current_index()
                for edit in edits:
                    index.put(edit.name, edit.entry, edit.children)
                content = index.content()
                self._storage.write_index(content)
                self._version, self._content = self._storage.index_version(), _digest(content)
            except BaseException:
                self._index = None  # It has edits that the file does not have.
                raise

    def referrers(self, name: str, subject: Digest, children: Collection[Digest]) -> tuple[Descriptor, ...]:
        """Return the listed manifests whose subject is *subject*, and those that the index of its tag schema lists."""
        with self._lock:
            try:
                index = self._read_index()
            except NotFound:
                return ()
            for entry in index.entries:
                if entry.is_manifest and entry.digest not in self._attached:
                    with contextlib.suppress(NotFound, ContentMismatch, ProtocolError, TooLarge):
                        self._attached[entry.digest] = self._subject_of(entry)
            listed = {entry.digest for entry in index.entries}
            named = {digest: found for digest, found in self._attached.items() if found is not None}
            found = {
                digest: entry for digest, (of, entry) in named.items() if of == subject and digest in listed - {subject}
            }
        for entry in self._by_tag_schema(name, subject, children):
            found.setdefault(entry.digest, entry)
        if len(found) > REFERRERS_LIMIT:
            raise TooLarge(f"{self._storage.what}: {subject}: more than {REFERRERS_LIMIT} referrers")
        return tuple(found.values())

    def legacy_tags(self, name: str, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist."""
        found: dict[str, Descriptor] = {}
        for tag in legacy_tags(subject):
            with contextlib.suppress(NotFound):
                found[tag] = self.manifest(name, tag).descriptor
        return found

    def _by_tag_schema(self, name: str, subject: Digest, children: Collection[Digest]) -> tuple[Descriptor, ...]:
        try:
            return parse_referrers(self.manifest(name, referrers_tag(subject)), subject, children)
        except (NotFound, ProtocolError):  # Without one, or an image has that tag.
            return ()

    def _subject_of(self, entry: Descriptor) -> tuple[Digest, Descriptor] | None:
        raw = self._read_manifest(entry.digest, entry, str(entry.digest))
        subject = raw.parse().subject
        return None if subject is None else (subject.digest, referrer_entry(raw))

    def _read_manifest(self, digest: Digest, entry: Descriptor | None, what: str) -> RawManifest:
        with contextlib.closing(self._storage.open(digest)) as file:
            content = file.read_all(MANIFEST_LIMIT_BYTES, what)
        if Digest.of(content, digest.algorithm) != digest or (entry and entry.size not in {None, len(content)}):
            raise ContentMismatch(
                f"{what}: the file of {digest} has other content",
                remedy="the layout is damaged: write this image to it again",
            )
        raw = RawManifest.of(content, entry.media_type if entry else "", what=what)
        return replace(raw, digest=digest)

    def _read_index(self) -> LayoutIndex:
        """Return the index, as far as inode, time and size of its file tell; the caller has the lock."""
        version = self._storage.index_version()
        if self._index is None or version is None or version != self._version:
            content = self._storage.read_index()
            self._index = LayoutIndex.parse(content, self._storage.what)
            self._version, self._content = version, _digest(content)
        return self._index

    def _current_index(self) -> LayoutIndex:
        """Return the index to change, empty if there is none.

        Its bytes are compared, since nothing of another process may be lost: two writes within one tick of the clock
        can end with the same inode, time and size.
        """
        try:
            content = self._storage.read_index()
        except NotFound:
            self._index = LayoutIndex.empty(self._storage.what)
            return self._index
        if self._index is None or _digest(content) != self._content:
            self._index = LayoutIndex.parse(content, self._storage.what)
        return self._index


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content, usedforsecurity=False).digest()
