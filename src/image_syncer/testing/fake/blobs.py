"""Blobs: HEAD, GET with Range, DELETE (distribution-spec end-2, end-10)."""

import re
from collections.abc import Callable

from aiohttp import web

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest
from image_syncer.testing.fake.answers import RegistryError, empty
from image_syncer.testing.fake.storage import Storage
from image_syncer.testing.fake.streaming import StreamedBody
from image_syncer.testing.profile import Profile

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def parse_digest(text: str) -> Digest:
    """Parse *text* as a digest; an invalid one is refused."""
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise RegistryError(400, "DIGEST_INVALID", "not a digest that this registry knows") from error


class BlobHandlers:
    """Handlers for whole blobs; *elsewhere* maps a path to the URL that its GET redirects to, or None."""

    def __init__(self, storage: Storage, profile: Profile, elsewhere: Callable[[str], str] | None = None) -> None:
        self._storage = storage
        self._profile = profile
        self._elsewhere = elsewhere

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer HEAD and GET, for the whole blob or a range."""
        digest = self._held(request)
        if self._elsewhere is not None and request.method == "GET":
            return empty(307, {"Location": self._elsewhere(request.path)})
        size = self._storage.size(digest)
        wanted = request.headers.get("Range") if self._profile.ranges else None
        start, end = _wanted(wanted, size)
        headers = {
            "Docker-Content-Digest": str(digest),
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes" if self._profile.ranges else "none",
            "Content-Length": str(end - start),
        }
        partial = wanted is not None and size > 0
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Type"] = "application/octet-stream"
        return StreamedBody(self._storage.read(digest, start, end - start), 206 if partial else 200, headers)

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE: remove the blob from this repository."""
        if self._profile.deletes == "nothing":
            raise RegistryError.of(self._profile.undeletable)
        digest = self._held(request)
        self._storage.repository(request.match_info["name"]).blobs.discard(digest)
        return empty(202)

    def _held(self, request: web.Request) -> Digest:
        digest = parse_digest(request.match_info["digest"])
        if not self._storage.holds(request.match_info["name"], digest):
            raise RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return digest


def _wanted(header: str | None, size: int) -> tuple[int, int]:
    """Return start and end (exclusive) of the requested bytes."""
    match = _RANGE.fullmatch(header or "")
    if match is None or size == 0:
        return 0, size
    start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
    if start >= end:
        raise RegistryError(416, "RANGE_INVALID", "no such bytes", {"Content-Range": f"bytes */{size}"})
    return start, end
