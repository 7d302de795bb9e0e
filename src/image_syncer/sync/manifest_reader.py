"""Reading source manifests and small blobs: once per digest and run, whoever needs them."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Digest, RawManifest, Repository
from image_syncer.roles import Stores

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

SMALL_BYTES = 256 * 1024
"""A blob of this size at most is read into memory, and kept for the next who needs it."""

_CACHE_BYTES = 8 * 1024 * 1024
_CONFIG_LIMIT_BYTES = 4 * 1024 * 1024


class ManifestReader:
    """Reads manifests and small blobs from sources; the latest ones are kept, at most 8 MiB of either."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._manifests: LruBytes[str, RawManifest] = LruBytes(
            _CACHE_BYTES
        )  # By digest alone: it says what the bytes are.
        self._blobs: LruBytes[Digest, bytes] = LruBytes(_CACHE_BYTES)
        self._reading: SingleFlight[str, RawManifest] = SingleFlight(keep=True, share_failures=False)
        self._reading_blobs: SingleFlight[Digest, bytes] = SingleFlight(keep=True, share_failures=False)

    async def resolve(self, repository: Repository, identifier: str) -> Descriptor:
        """Return what *identifier* names at the source; `CopyFailed` at step "resolve"."""
        try:
            return await self._stores.source(repository).resolve(identifier)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="resolve") from error

    async def read(self, repository: Repository, identifier: str) -> RawManifest:
        """Return the manifest at the tag or digest *identifier*; `CopyFailed` at step "read manifest"."""
        kept = self._manifests.find(identifier)
        if kept is not None:
            return kept
        key = identifier if ":" in identifier else str(repository.tag(identifier))
        try:
            return await self._reading.do(key, lambda: self._fetch(repository, identifier))
        finally:
            self._reading.forget(key)  # What is kept for longer is bounded by the shelf.

    async def read_config(self, repository: Repository, config: Descriptor) -> bytes:
        """Return the small blob *config*; empty where it is larger than a config has reason to be."""
        if config.size is None or config.size > _CONFIG_LIMIT_BYTES:
            return b""
        return await self.read_blob(repository, config, step="read config")

    async def read_blob(self, repository: Repository, blob: Descriptor, *, step: str = "read blob") -> bytes:
        """Return the verified content of *blob*, which should be small; `CopyFailed` at *step*."""
        kept = self._blobs.find(blob.digest)
        if kept is not None:
            return kept
        try:
            return await self._reading_blobs.do(blob.digest, lambda: self._fetch_blob(repository, blob))
        except StoreError as error:
            raise CopyFailed(error, side="source", step=step) from error
        finally:
            self._reading_blobs.forget(blob.digest)

    async def _fetch(self, repository: Repository, identifier: str) -> RawManifest:
        try:
            manifest = await self._stores.source(repository).manifest(identifier)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="read manifest") from error
        self._manifests.keep(str(manifest.digest), manifest, len(manifest.content))
        return manifest

    async def _fetch_blob(self, repository: Repository, blob: Descriptor) -> bytes:
        async with self._stores.source(repository).open(blob) as chunks:
            content = b"".join([bytes(chunk) async for chunk in chunks])
        self._blobs.keep(blob.digest, content, len(content))
        return content


class LruBytes(Generic[Key, Value]):
    """Keeps what was used last, at most *limit* bytes of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._size_bytes = 0

    def find(self, key: Key) -> Value | None:
        """Return what is kept for *key*, None if that is nothing."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def keep(self, key: Key, value: Value, size_bytes: int) -> None:
        """Keep *value*; what was not used for longest makes room."""
        if key in self._kept:
            return
        self._kept[key] = value, size_bytes
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._size_bytes -= dropped
