"""Uploads: POST, PATCH, PUT, GET, DELETE and mount (distribution-spec end-4 to end-6, end-11, end-13, end-14)."""

import re
from contextlib import aclosing

from aiohttp import ClientError, web

from image_syncer.oci import Digest
from image_syncer.testing.fake.answers import RegistryError, empty
from image_syncer.testing.fake.blobs import parse_digest
from image_syncer.testing.fake.exchange import received
from image_syncer.testing.fake.storage import Storage, Upload

_CONTENT_RANGE = re.compile(r"(\d+)-(\d+)")


class UploadHandlers:
    """Answers what concerns blobs on their way in. Chunks but the last have at least *chunk_min_bytes*."""

    def __init__(self, storage: Storage, *, chunk_min_bytes: int = 0) -> None:
        self._storage = storage
        self._chunk_min_bytes = chunk_min_bytes

    async def post(self, request: web.Request) -> web.Response:
        """Answer POST: a mount, a whole blob at once, or a new session."""
        name = request.match_info["name"]
        if "mount" in request.query:
            digest = parse_digest(request.query["mount"])
            if self._mount(name, digest, request.query.get("from")):
                return _created(name, digest)
        upload = self._storage.begin(name)
        if "digest" in request.query:
            digest = parse_digest(request.query["digest"])
            await self._receive(request, upload)
            return self._commit(upload, digest)
        headers = {"OCI-Chunk-Min-Length": str(self._chunk_min_bytes)} if self._chunk_min_bytes else {}
        return empty(202, _progress(upload) | headers)

    async def patch(self, request: web.Request) -> web.Response:
        """Answer PATCH: one chunk, in order."""
        upload = self._upload(request)
        self._check_order(request, upload)
        if upload.short:
            raise RegistryError(400, "SIZE_INVALID", "a chunk before this one was below OCI-Chunk-Min-Length")
        before = upload.offset
        await self._receive(request, upload)
        upload.short = upload.offset - before < self._chunk_min_bytes
        return empty(202, _progress(upload))

    async def put(self, request: web.Request) -> web.Response:
        """Answer PUT: perhaps the last chunk or the whole blob, and the digest of everything."""
        upload = self._upload(request)
        digest = parse_digest(request.query.get("digest", ""))
        if request.body_exists:
            self._check_order(request, upload)
            await self._receive(request, upload)
        return self._commit(upload, digest)

    async def get(self, request: web.Request) -> web.Response:
        """Answer GET: how far the upload has come."""
        return empty(204, _progress(self._upload(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE: the upload is given up."""
        self._storage.cancel(self._upload(request))
        return empty(204)

    def _mount(self, name: str, digest: Digest, origin: str | None) -> bool:
        """Take *digest* over from *origin*, or from anywhere if none is named."""
        origins = [origin] if origin is not None else list(self._storage.repositories)
        if not any(self._storage.holds(candidate, digest) for candidate in origins):
            return False
        self._storage.repository(name).blobs.add(digest)
        return True

    def _upload(self, request: web.Request) -> Upload:
        upload = self._storage.uploads.get(request.match_info["upload"])
        if upload is None or upload.repository != request.match_info["name"]:
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return upload

    def _check_order(self, request: web.Request, upload: Upload) -> None:
        """Refuse a chunk that does not begin where the last one ended, and a Location that is no longer the newest."""
        stale = request.query.get("_state") != str(upload.offset)
        header = request.headers.get("Content-Range")
        if header is not None:
            match = _CONTENT_RANGE.fullmatch(header)
            length = request.content_length
            if match is None or (length is not None and int(match[2]) - int(match[1]) + 1 != length):
                raise RegistryError(400, "SIZE_INVALID", "Content-Range and Content-Length do not agree")
            stale = stale or int(match[1]) != upload.offset
        if stale:
            raise RegistryError(416, "RANGE_INVALID", "not the next chunk", _progress(upload))

    async def _receive(self, request: web.Request, upload: Upload) -> None:
        """Keep what arrives; if the connection breaks, what was received stays for a later chunk to continue."""
        try:
            async with aclosing(received(request)) as chunks:
                async for chunk in chunks:
                    if upload.closed:
                        raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "the upload was given up meanwhile")
                    upload.write(chunk)
        except (ClientError, OSError) as error:
            raise RegistryError(400, "BLOB_UPLOAD_INVALID", "the connection broke") from error

    def _commit(self, upload: Upload, digest: Digest) -> web.Response:
        if upload.digest(digest.algorithm) != digest:
            self._storage.cancel(upload)
            raise RegistryError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self._storage.commit(upload, digest)
        return _created(upload.repository, digest)


def _progress(upload: Upload) -> dict[str, str]:
    """Return where and from which byte an upload goes on; 0-0 stands for an empty one, as in distribution."""
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.name}?_state={upload.offset}",
        "Range": f"0-{max(0, upload.offset - 1)}",
        "Docker-Upload-UUID": upload.name,
    }


def _created(name: str, digest: Digest) -> web.Response:
    return empty(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)})
