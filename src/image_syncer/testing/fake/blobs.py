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

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_GO_RANGE_ERROR = b"invalid range: failed to overlap\n"


class _Unsatisfiable(Exception):
    """No byte of the blob is in the requested range, or the range is *malformed*."""

    def __init__(self, *, malformed: bool = False) -> None:
        super().__init__()
        self.malformed = malformed


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
        try:
            wanted = self._range(request, size)
        except _Unsatisfiable as error:
            return self._unsatisfiable(size, error)
        start, end = wanted or (0, size)
        headers = {
            "Docker-Content-Digest": str(self._storage.reported(digest, canonical=self._profile.canonical_digests)),
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes" if self._profile.ranges else "none",
            "Content-Length": str(end - start),
        }
        if wanted is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Type"] = "application/octet-stream"
        return StreamedBody(self._storage.read(digest, start, end - start), 206 if wanted else 200, headers)

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE: remove the blob from this repository."""
        if self._profile.deletes == "nothing":
            raise RegistryError.of(self._profile.undeletable)
        digest = self._held(request)
        self._storage.repository(request.match_info["name"]).blobs.discard(digest)
        return empty(202)

    def _range(self, request: web.Request, size: int) -> tuple[int, int] | None:
        """Return start and end (exclusive) of the requested range, None for the whole blob; `_Unsatisfiable`.

        RFC 9110 lets a server ignore a range that is malformed or has several parts.
        """
        header = request.headers.get("Range")
        if header is None or size == 0 or not self._profile.ranges:
            return None
        match = _RANGE.fullmatch(header)
        if match is None or match[0] == "bytes=-":
            if self._profile.go_ranges and (header == "bytes=-" or not header.startswith("bytes=")):
                raise _Unsatisfiable(malformed=True)
            return None
        if not match[1]:
            start, end = max(0, size - int(match[2])), size
        else:
            start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
        if start >= end and not (self._profile.go_ranges and match[0] == "bytes=-0"):
            raise _Unsatisfiable(malformed=bool(match[2]) and start < size)
        return start, end

    def _unsatisfiable(self, size: int, error: _Unsatisfiable) -> web.StreamResponse:
        """Return status 416; Go's file server behind distribution announces the blob's size and sends a message."""
        headers = {"Content-Range": f"bytes */{size}"}
        if not self._profile.go_ranges:
            raise RegistryError(416, "RANGE_INVALID", "the range has no byte of the blob", headers)
        if error.malformed:
            del headers["Content-Range"]
        headers |= {"Content-Length": str(size), "Content-Type": "text/plain; charset=utf-8"}
        return StreamedBody(iter((_GO_RANGE_ERROR[:size],)), 416, headers)

    def _held(self, request: web.Request) -> Digest:
        digest = parse_digest(request.match_info["digest"])
        if not self._storage.holds(request.match_info["name"], digest):
            raise RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return digest
