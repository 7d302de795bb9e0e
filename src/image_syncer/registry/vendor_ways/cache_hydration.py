"""A pull-through cache fetches an image because its content is read: manifests by their digests, and what lacks then.

A cache that fetches an image as a whole, such as zot, needs nothing but the manifests. Others fetch a blob when it is
read; a read of one byte is enough for those that serve ranges from their own copy.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import Refused
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.registry.blobs.blobs import Blobs
from image_syncer.registry.blobs.upload_session import UploadSessions
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.manifests import Manifests
from image_syncer.roles import ImageContent, Way

_AT_ONCE: Final = 8
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # Seconds between looks for a blob that was read.
_ONE_BYTE: Final = {"Range": "bytes=0-0"}


class CacheHydration:
    """Reads images from *target*, which fetches them from the source by itself; *wait_seconds* as in `VendorWay`."""

    def __init__(
        self, target: Repository, client: Callable[[Repository], Awaitable[RegistryClient]], wait_seconds: float | None
    ) -> None:
        self.way = Way.HYDRATE
        self.requests = 2
        self.wait_seconds = wait_seconds
        self._target = target
        self._client = client

    def offers(self, digest: Digest, manifests: int) -> bool:
        """Return True: a cache fetches every image."""
        del digest, manifests
        return True

    async def copy(self, content: ImageContent) -> None:
        """Read *content*, until the cache has all blobs; `StoreError` if it does not fetch them."""
        requests = RepositoryRequests(await self._client(self._target), self._target, "target")
        manifests, blobs = Manifests(requests), Blobs(requests, UploadSessions())

        async def read_manifest(entry: Descriptor) -> None:
            await manifests.get(str(entry.digest))

        async def read_blob(blob: Descriptor) -> None:
            if await blobs.has(blob):
                return
            call = requests.build("GET", requests.blob_path(blob), headers=_ONE_BYTE, follow=True)
            for pause in _PAUSES:
                await requests.client.request(call, requests.blob_context(blob), expect={200, 206}, retry=False)
                await asyncio.sleep(pause)
                if await blobs.has(blob):
                    return
            raise Refused(f"{self._target}: the cache has not fetched {blob.digest}, though it was read")

        await read_manifest(content.root)  # Most caches fetch the rest with it.
        await for_each(content.manifests, read_manifest, width=_AT_ONCE)
        await for_each(content.blobs, read_blob, width=_AT_ONCE)
