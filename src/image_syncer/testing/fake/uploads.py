"""Uploads: POST, PATCH, PUT, GET, DELETE and mount (distribution-spec end-4 to end-6, end-11, end-13, end-14)."""

import hmac
import re
import secrets
from contextlib import aclosing

from aiohttp import ClientError, web

from image_syncer.oci import Digest
from image_syncer.testing.fake.answers import RegistryError, empty, read_away
from image_syncer.testing.fake.blobs import parse_digest
from image_syncer.testing.fake.storage import Storage, StoredUpload
from image_syncer.testing.fake.streaming import received
from image_syncer.testing.profile import Profile

_CONTENT_RANGE = re.compile(r"(\d+)-(\d+)")


class UploadHandlers:
    """Handlers for uploads and mounts."""

    def __init__(self, storage: Storage, profile: Profile) -> None:
        self._storage = storage
        self._profile = profile
        self._key = secrets.token_bytes(16)

    async def post(self, request: web.Request) -> web.Response:
        """Answer POST: a mount, a whole blob in one request, or a new session."""
        name = request.match_info["name"]
        if not self._storage.may_push(name, self._profile.projects):
            raise RegistryError.of(self._profile.missing_project)
        if "mount" in request.query:
            digest = self._mount(name, request.query["mount"], request.query.get("from"))
            if digest is not None:
                return _created(name, digest)
            if self._profile.mount_refusal is not None:
                raise RegistryError.of(self._profile.mount_refusal)
        elif "from" in request.query and self._profile.mount == "everywhere":
            raise RegistryError(405, "UNSUPPORTED", "from without mount")  # zot does so.
        upload = self._storage.begin(name)
        if "digest" in request.query and self._profile.single_post:
            digest = parse_digest(request.query["digest"])
            await self._receive(request, upload)
            return self._commit(upload, digest)
        headers = self._progress(request, upload)
        if self._profile.chunk_min_bytes and self._profile.chunk_min_told:
            headers["OCI-Chunk-Min-Length"] = str(self._profile.chunk_min_bytes)
        return empty(202, headers)

    async def patch(self, request: web.Request) -> web.Response:
        """Answer PATCH: one chunk, in order."""
        upload = self._upload(request)
        await self._check_chunk(request, upload)
        before, upload.patches = upload.offset, upload.patches + 1
        try:
            await self._receive(request, upload)
        except RegistryError:
            if self._profile.errors_end_uploads:
                self._storage.cancel(upload)
            raise
        upload.short = upload.offset - before < self._profile.chunk_min_bytes
        if self._profile.commits_early and (upload.short or "Content-Range" not in request.headers):
            return self._commit(upload, upload.digest("sha256"))
        return empty(202, self._progress(request, upload))

    async def put(self, request: web.Request) -> web.Response:
        """Answer PUT: close the upload with its digest, and optionally receive the last chunk or the whole blob."""
        upload = self._upload(request)
        digest = parse_digest(request.query.get("digest", ""))
        if not self._profile.closing_content:
            await read_away(request)
        elif request.body_exists:
            self._check_order(request, upload)
            await self._receive(request, upload)
        return self._commit(upload, digest)

    async def get(self, request: web.Request) -> web.Response:
        """Answer GET: report the upload's offset."""
        headers = self._progress(request, self._upload(request))
        return empty(204, headers | {"Range": f"{self._profile.range_unit}{headers['Range']}"})

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE: cancel the upload."""
        self._storage.cancel(self._upload(request))
        return empty(204)

    def _mount(self, name: str, wanted: str, origin: str | None) -> Digest | None:
        """Mount the blob *wanted* from a repository where the profile looks for it; None if it is not there."""
        try:
            digest = parse_digest(wanted)
        except RegistryError:
            if self._profile.mount == "named":  # distribution begins an upload.
                return None
            raise
        origins = [origin] if origin is not None else []
        match self._profile.mount:
            case "never":
                return None
            case "everywhere":
                origins = list(self._storage.repositories)
            case "any" if origin is None:
                origins = list(self._storage.repositories)
            case _:
                pass
        if not any(self._storage.holds(candidate, digest) for candidate in origins):
            return None
        if digest.algorithm == "sha256" or not self._profile.canonical_digests:
            self._storage.repository(name).blobs.add(digest)
        return digest  # Of another algorithm distribution confirms a mount that leads nowhere.

    def _upload(self, request: web.Request) -> StoredUpload:
        upload = self._storage.uploads.get(request.match_info["upload"])
        if self._profile.strict_state and "_state" not in request.query:
            raise RegistryError(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        if upload is None or upload.repository != request.match_info["name"]:
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if self._profile.strict_state and self._is_stale(request, upload):
            raise RegistryError(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        return upload

    async def _check_chunk(self, request: web.Request, upload: StoredUpload) -> None:
        """Refuse a chunk that is one too many for the profile, or too large."""
        allowed = {"many": None, "one": 1, "none": 0}[self._profile.patches]
        limit, length = self._profile.chunk_max_bytes, request.content_length or 0
        if allowed is not None and upload.patches >= allowed:
            await read_away(request)
            raise RegistryError(405, "UNSUPPORTED", "the blob must come whole")
        if limit is not None and "Content-Range" in request.headers and length > limit:
            await read_away(request)
            raise RegistryError(413, "SIZE_INVALID", f"a chunk has at most {limit} bytes")
        self._check_order(request, upload)
        if upload.short:
            raise RegistryError(400, "SIZE_INVALID", "a chunk before this one was below the minimum")

    def _check_order(self, request: web.Request, upload: StoredUpload) -> None:
        """Refuse a chunk that does not begin where the last one ended, and an outdated Location."""
        stale = self._is_stale(request, upload)
        header = request.headers.get("Content-Range")
        if header is not None:
            match = _CONTENT_RANGE.fullmatch(header)
            length = request.content_length
            if match is None or (length is not None and int(match[2]) - int(match[1]) + 1 != length):
                raise RegistryError(400, "SIZE_INVALID", "Content-Range and Content-Length do not agree")
            stale = stale or (self._profile.order_checked and int(match[1]) != upload.offset)
        if stale:
            raise RegistryError(416, "RANGE_INVALID", "not the next chunk", self._progress(request, upload))

    async def _receive(self, request: web.Request, upload: StoredUpload) -> None:
        """Store the received bytes; after a broken connection they stay, so that a later chunk can continue."""
        try:
            async with aclosing(received(request)) as chunks:
                async for chunk in chunks:
                    if upload.closed:
                        raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "the upload was given up meanwhile")
                    upload.write(chunk)
        except (ClientError, OSError) as error:
            raise RegistryError(400, "BLOB_UPLOAD_INVALID", "the connection broke") from error

    def _commit(self, upload: StoredUpload, digest: Digest) -> web.Response:
        if upload.digest(digest.algorithm) != digest:
            if self._profile.mismatch_ends_upload:
                self._storage.cancel(upload)
            raise RegistryError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self._storage.commit(upload, digest)
        reported = self._storage.reported(digest, canonical=self._profile.canonical_digests)
        self._storage.link(upload.repository, digest, reported)
        return _created(upload.repository, reported)

    def _progress(self, request: web.Request, upload: StoredUpload) -> dict[str, str]:
        """Return headers with the upload's address and offset; like distribution, an empty upload reports 0-0."""
        headers = {"Range": f"0-{max(0, upload.offset - 1)}", "Docker-Upload-UUID": upload.name}
        location = f"/v2/{upload.repository}/blobs/uploads/{upload.name}?_state={self._state(upload)}"
        match self._profile.location:
            case "relative":
                headers["Location"] = location
            case "absolute":
                headers["Location"] = f"{request.scheme}://{request.host}{location}"
            case "none":
                pass
        return headers

    def _is_stale(self, request: web.Request, upload: StoredUpload) -> bool:
        return self._profile.location != "none" and request.query.get("_state") != self._state(upload)

    def _state(self, upload: StoredUpload) -> str:
        """Return a signature of *upload* and its offset, which a client cannot forge."""
        return hmac.digest(self._key, f"{upload.name} {upload.offset}".encode(), "sha256").hex()[:24]


def _created(name: str, digest: Digest) -> web.Response:
    return empty(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)})
