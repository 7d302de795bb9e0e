"""Reading source manifests: once per digest and run, whoever needs them."""

from collections import OrderedDict

from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, RawManifest, Repository
from image_syncer.store import Stores
from image_syncer.sync.once import Once

_CACHE_BYTES = 16 * 1024 * 1024
_CONFIG_LIMIT_BYTES = 4 * 1024 * 1024


class ManifestReader:
    """Reads manifests and small configs from sources; the latest ones are kept, at most 16 MiB of them."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._kept: OrderedDict[tuple[Repository, str], RawManifest] = OrderedDict()
        self._kept_bytes = 0
        self._reading: Once[tuple[Repository, str], RawManifest] = Once(share_failures=True)

    async def resolve(self, repository: Repository, identifier: str) -> Descriptor:
        """Return what *identifier* names at the source; `CopyFailed` at step "resolve"."""
        try:
            return await self._stores.source(repository).resolve(identifier)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="resolve") from error

    async def read(self, repository: Repository, identifier: str) -> RawManifest:
        """Return the manifest at the tag or digest *identifier*; `CopyFailed` at step "read manifest"."""
        key = (repository, identifier)
        if key in self._kept:
            return self._kept[key]
        try:
            return await self._reading.do(key, lambda: self._fetch(repository, identifier))
        finally:
            self._reading.forget(key)  # What is kept for longer is bounded by `_keep`.

    async def _fetch(self, repository: Repository, identifier: str) -> RawManifest:
        try:
            manifest = await self._stores.source(repository).manifest(identifier)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="read manifest") from error
        self._keep((repository, str(manifest.digest)), manifest)
        return manifest

    async def read_config(self, repository: Repository, config: Descriptor) -> bytes:
        """Return the small blob *config*; empty where it is larger than a config has reason to be."""
        if config.size is None or config.size > _CONFIG_LIMIT_BYTES:
            return b""
        try:
            async with self._stores.source(repository).open(config) as chunks:
                return b"".join([bytes(chunk) async for chunk in chunks])
        except StoreError as error:
            raise CopyFailed(error, side="source", step="read config") from error

    def _keep(self, key: tuple[Repository, str], manifest: RawManifest) -> None:
        if key in self._kept:
            return
        self._kept[key] = manifest
        self._kept_bytes += len(manifest.content)
        while self._kept_bytes > _CACHE_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.content)
