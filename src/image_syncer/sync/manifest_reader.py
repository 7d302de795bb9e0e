"""Reads source manifests and small blobs, each digest once per run."""

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
"""A blob of at most this size is read into memory and cached."""

_CACHE_BYTES = 8 * 1024 * 1024
_CONFIG_LIMIT_BYTES = 4 * 1024 * 1024


class ManifestReader:
    """Reads manifests and small blobs from sources through two LRU caches of 8 MiB each."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        # The key is the digest without the repository, since the digest determines the bytes.
        self._manifests: LruBytes[str, RawManifest] = LruBytes(_CACHE_BYTES)
        self._blobs: LruBytes[Digest, bytes] = LruBytes(_CACHE_BYTES)
        self._reading: SingleFlight[str, RawManifest] = SingleFlight(keep=True, share_failures=False)
        self._reading_blobs: SingleFlight[Digest, bytes] = SingleFlight(keep=True, share_failures=False)

    async def resolve(self, repository: Repository, identifier: str) -> Descriptor:
        """Return the descriptor of *identifier* at the source; `CopyFailed` at step "resolve"."""
        try:
            return await self._stores.source(repository).resolve(identifier)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="resolve") from error

    async def read(self, repository: Repository, identifier: str) -> RawManifest:
        """Return the manifest at the tag or digest *identifier*; `CopyFailed` at step "read manifest"."""
        cached = self._manifests.find(identifier)
        if cached is not None:
            return cached
        key = identifier if ":" in identifier else str(repository.tag(identifier))
        try:
            return await self._reading.do(key, lambda: self._fetch(repository, identifier))
        finally:
            self._reading.forget(key)  # The flight keeps nothing: the LRU cache bounds the memory.

    async def read_config(self, repository: Repository, config: Descriptor) -> bytes:
        """Return the small blob *config*; empty if it is larger than 4 MiB."""
        if config.size is None or config.size > _CONFIG_LIMIT_BYTES:
            return b""
        return await self.read_blob(repository, config, step="read config")

    async def read_blob(self, repository: Repository, blob: Descriptor, *, step: str = "read blob") -> bytes:
        """Return the verified content of the small *blob*; `CopyFailed` at *step*."""
        cached = self._blobs.find(blob.digest)
        if cached is not None:
            return cached
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
    """An LRU cache of at most *limit* bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._size_bytes = 0

    def find(self, key: Key) -> Value | None:
        """Return the cached value of *key*, None without one."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def forget(self, key: Key) -> None:
        """Drop the cached value of *key*, if there is one."""
        if key in self._entries:
            self._size_bytes -= self._entries.pop(key)[1]

    def keep(self, key: Key, value: Value, size_bytes: int) -> None:
        """Cache *value* and evict the least recently used values that no longer fit."""
        if key in self._entries:
            return
        self._entries[key] = value, size_bytes
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit:
            _, (_, evicted_bytes) = self._entries.popitem(last=False)
            self._size_bytes -= evicted_bytes
