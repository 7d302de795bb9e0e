"""An archive as `docker save` writes it, read as a layout. Blocking.

Newer ones are layouts too, and their manifests are read as they are. Older ones have no manifests: one is made of the
config and the layers, with the same bytes each time. Layers stay as they are, which is mostly uncompressed.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Never, cast

from image_syncer.bounded_json import InvalidJson, JsonObject, parse_object, read_json
from image_syncer.errors import InvalidReference, NotFound, ProtocolError, Refused, TooLarge
from image_syncer.layout.archive_storage import blob_name
from image_syncer.layout.blob_directory import INDEX_FILE, LAYOUT_FILE
from image_syncer.layout.index_file import LayoutIndex, entry_document, parse_name
from image_syncer.layout.partial_blob import PartialBlob
from image_syncer.layout.safe_files import BlobFile
from image_syncer.layout.tar_file import TarReader
from image_syncer.oci import Descriptor, Digest, RawManifest, media_type
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES, PARTS_LIMIT
from image_syncer.structs import Struct

_LIST_FILE: Final = "manifest.json"
_IMAGES_LIMIT: Final = 1_000
_DEPTH_LIMIT: Final = 8
_VALUES_LIMIT: Final = 100_000
_HASH_BYTES: Final = 1024 * 1024
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_COMPRESSED: Final = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}


class _Blob(Struct):
    """A blob of an image: the member *name* of the archive, or the bytes *content*."""

    name: str = ""
    content: bytes = b""


class _Bytes(BlobFile):
    """Bytes in memory as a file."""

    def __init__(self, content: bytes) -> None:
        super().__init__(-1, len(content))
        self._content = content

    def read(self, at: int, count: int) -> bytes:
        """Return up to *count* bytes from byte *at* on."""
        return self._content[at : at + count]

    def close(self) -> None:
        """Do nothing."""


class DockerArchive:
    """The archive at *path*; *what* names it in errors. It can only be read."""

    def __init__(self, path: str, what: str) -> None:
        self.what = what
        self._archive = TarReader(path, what, links=True)
        self._lock = threading.Lock()
        self._version: object = None
        self._blobs: Mapping[Digest, _Blob] = {}
        self._index: bytes | None = None
        """The index that was made; None if the archive has one."""

    def index_version(self) -> object:
        """Return a value that changes with the archive; None without one."""
        return self._archive.version()

    def read_index(self) -> bytes:
        """Return the bytes of the index; `NotFound` without the archive."""
        with self._lock:
            self._load()
            if self._index is not None:
                return self._index
        return self._archive.read(INDEX_FILE, MANIFEST_LIMIT_BYTES)

    def open(self, digest: Digest) -> BlobFile:
        """Open the blob *digest*; `NotFound`."""
        with self._lock:
            self._load()
            if self._index is None:
                return self._archive.open(blob_name(digest))
            blob = self._blobs.get(digest)
        if blob is None:
            raise NotFound(f"{self.what}: {digest}: not in the archive")
        return self._archive.open(blob.name) if blob.name else _Bytes(blob.content)

    def prepare(self) -> None:
        """Raise `Refused`: this form is not written."""
        self._refuse()

    def begin(self, digest: Digest, size: int | None) -> PartialBlob:
        """Raise `Refused`: this form is not written."""
        del digest, size
        self._refuse()

    def locked(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def write_index(self, content: bytes) -> None:
        """Raise `Refused`: this form is not written."""
        del content
        self._refuse()

    def finish(self) -> None:
        """Do nothing: nothing is written."""

    def interrupt(self) -> None:
        """Do nothing: nothing is written."""

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _refuse(self) -> Never:
        raise Refused(f"{self.what}: can only be a source", remedy="write oci-archive:FILE")

    def _load(self) -> None:
        """Make an index of the images, unless the archive has one."""
        version = self._archive.version()
        if self._version is not None and version == self._version:
            return
        names = self._archive.names()
        self._index, self._blobs = None, {}
        if not {LAYOUT_FILE, INDEX_FILE} <= names:
            if _LIST_FILE not in names:
                if self._archive.is_cut():
                    raise ProtocolError(f"{self.what}: cut off: the archive has no end", remedy="save or copy it again")
                raise ProtocolError(f"{self.what}: not an archive of docker save: {_LIST_FILE} is missing")
            self._make_index()
        self._version = version

    def _make_index(self) -> None:
        blobs: dict[Digest, _Blob] = {}
        index = LayoutIndex.empty(self.what)
        named: dict[str, Digest] = {}
        for image in self._images():
            manifest = self._manifest(image, blobs)
            blobs[manifest.digest] = _Blob(content=manifest.content)
            tags = cast("object", image.get("RepoTags"))
            texts = (
                [text for text in cast("list[object]", tags) if isinstance(text, str)] if isinstance(tags, list) else []
            )
            for text in texts:
                if named.setdefault(text, manifest.digest) != manifest.digest:
                    raise ProtocolError(f"{self.what}: {_LIST_FILE}: two images have the name {text[:200]!r}")
            for name in [parse_name(text) for text in texts] or [None]:
                index.put(name, manifest.descriptor)
        self._index, self._blobs = index.content(), blobs

    def _images(self) -> list[JsonObject]:
        what = f"{self.what}: {_LIST_FILE}"
        content = self._archive.read(_LIST_FILE, MANIFEST_LIMIT_BYTES)
        try:
            images = read_json(content, depth=_DEPTH_LIMIT, values=_VALUES_LIMIT, strict=True)
        except InvalidJson as error:
            raise ProtocolError(f"{what}: {error}") from None
        if not isinstance(images, list) or not all(isinstance(one, dict) for one in cast("list[object]", images)):
            raise ProtocolError(f"{what}: not a list of images")
        if len(cast("list[object]", images)) > _IMAGES_LIMIT:
            raise TooLarge(f"{what}: more than {_IMAGES_LIMIT} images")
        return cast("list[JsonObject]", images)

    def _manifest(self, image: JsonObject, blobs: dict[Digest, _Blob]) -> RawManifest:
        """Return the manifest of *image*, and add its config and layers to *blobs*."""
        name = image.get("Config")
        layers: object = image.get("Layers")
        if not isinstance(name, str) or not isinstance(layers, list):
            raise ProtocolError(f"{self.what}: {_LIST_FILE}: an image without Config and Layers")
        texts = [layer for layer in cast("list[object]", layers) if isinstance(layer, str)]
        config = self._archive.read(_normalised(name), MANIFEST_LIMIT_BYTES)
        diff_ids = self._diff_ids(config, f"{self.what}: {name}")
        if len(texts) != len(diff_ids) or len(texts) > PARTS_LIMIT:
            raise ProtocolError(f"{self.what}: {name}: {len(diff_ids)} layers by its config, {len(texts)} by the list")
        digest = Digest.of(config)
        blobs[digest] = _Blob(_normalised(name))
        parts = [self._layer(_normalised(text), diff_id, blobs) for text, diff_id in zip(texts, diff_ids, strict=True)]
        document = {
            "schemaVersion": 2,
            "mediaType": media_type.OCI_MANIFEST,
            "config": entry_document(Descriptor(media_type.OCI_CONFIG, digest, len(config))),
            "layers": [entry_document(part) for part in parts],
        }
        return RawManifest.of(json.dumps(document, separators=(",", ":")).encode(), media_type.OCI_MANIFEST)

    def _diff_ids(self, config: bytes, what: str) -> list[Digest]:
        rootfs: object = parse_object(config, what).get("rootfs")
        diff_ids: object = cast("JsonObject", rootfs).get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(diff_ids, list):
            raise ProtocolError(f"{what}: a config without rootfs.diff_ids")
        try:
            return [Digest.parse(str(text)) for text in cast("list[object]", diff_ids)]
        except InvalidReference as error:
            raise ProtocolError(f"{what}: {error}") from error

    def _layer(self, name: str, diff_id: Digest, blobs: dict[Digest, _Blob]) -> Descriptor:
        """Return the descriptor of the layer *name*; that of a plain one has the digest *diff_id*."""
        with contextlib.closing(self._archive.open(name)) as file:
            beginning = file.read(0, 4)
            suffix = next((ending for magic, ending in _COMPRESSED.items() if beginning.startswith(magic)), "")
            digest = _digest_of(file) if suffix else diff_id
            blobs[digest] = _Blob(name)
            return Descriptor(f"{_LAYER}{suffix}", digest, file.size)


def _digest_of(file: BlobFile) -> Digest:
    found, at = hashlib.sha256(usedforsecurity=False), 0
    while piece := file.read(at, _HASH_BYTES):
        found.update(piece)
        at += len(piece)
    return Digest("sha256", found.hexdigest())


def _normalised(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in {"", "."})
