"""A pull-through cache that takes pushes, too: what is read and missing is fetched from another registry."""

import asyncio
from typing import Literal

import aiohttp
from aiohttp import web

from image_syncer.oci import Digest
from image_syncer.testing.fake.import_api import ImageFetch
from image_syncer.testing.fake.storage import Storage
from image_syncer.testing.request_log import kind_of

CacheBehaviour = Literal["whole", "lazy", "refuses", "slow", "lies"]
"""Fetches an image with its root, each part when it is read, nothing, without an end, or manifests without blobs."""


class PullThrough:
    """Fetches for the repositories below *prefix* what the registry at *upstream* has, into *storage*."""

    def __init__(self, storage: Storage, prefix: str, upstream: str) -> None:
        self.behaviour: CacheBehaviour = "whole"
        self._storage = storage
        self._prefix = prefix
        self._upstream = upstream
        self._lock = asyncio.Lock()

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Fetch what *request* reads if it is missing; the registry answers then."""
        kind = kind_of(request.path)
        path, _, reference = request.path.removeprefix("/v2/").rpartition(f"/{kind}s/")
        if request.method != "GET" or not path.startswith(self._prefix) or not reference.startswith("sha256:"):
            return None
        if self.behaviour == "slow":
            await asyncio.Event().wait()
        async with self._lock:
            digest, repository = Digest.parse(reference), self._storage.repository(path)
            if self.behaviour != "refuses" and digest not in repository.manifests and digest not in repository.blobs:
                await self._fetch(path, kind, digest)
        return None

    async def _fetch(self, path: str, kind: str, digest: Digest) -> None:
        async with aiohttp.ClientSession(headers={"User-Agent": "cache"}) as session:
            fetch = ImageFetch(session, f"http://{self._upstream}/v2/{path.removeprefix(self._prefix)}")
            if kind == "manifest":
                await fetch.tree(str(digest), whole=self.behaviour == "whole")
            elif self.behaviour == "lazy":
                await fetch.blob(digest)
        self._storage.keep(path, fetch.manifests, fetch.blobs)
