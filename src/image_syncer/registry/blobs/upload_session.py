"""Upload sessions: where content goes, and how much of it the registry has (distribution-spec, "Pushing blobs")."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from image_syncer.errors import ProtocolError, StoreError
from image_syncer.oci import Descriptor, Digest
from image_syncer.oci.digest import CANONICAL_ALGORITHM
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.urls import is_confined, is_loopback, origin_of
from image_syncer.roles import UploadCheckpoint, UploadJournal
from image_syncer.structs import Struct, field, replace

_SESSIONS_LIMIT: Final = 64
_CANCEL_SECONDS: Final = 5.0
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9._=~-]{1,256}")
_RANGE: Final = re.compile(r"(?:bytes[ =])?0-([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,12}")


class UploadSession(Struct):
    """An open upload at *location*, with *offset_bytes* of the blob in it.

    *is_acknowledged*: the registry has stated the offset, and nothing was sent since. *least_bytes* is the minimum size
    of its chunks, except the last.
    """

    location: str = field(repr=False)  # It may grant write access.
    offset_bytes: int = 0
    least_bytes: int = 0
    is_acknowledged: bool = True


class UploadSessions:
    """The uploads of one repository: unused open sessions by blob, and which blobs are being pushed with a journal."""

    __slots__ = ("_open", "_pushed")

    def __init__(self) -> None:
        # Plain dicts: a run has one object for each of its repositories, and most have no upload.
        self._open: dict[Digest, UploadSession] = {}
        self._pushed: dict[Digest, None] = {}

    def keep(self, digest: Digest, session: UploadSession) -> None:
        """Keep *session* for *digest*; drops the oldest of 64."""
        self._open[digest] = session
        if len(self._open) > _SESSIONS_LIMIT:
            del self._open[next(iter(self._open))]

    def has(self, digest: Digest) -> bool:
        """Whether a session is kept for *digest*."""
        return digest in self._open

    def take(self, digest: Digest) -> UploadSession | None:
        """Remove and return the session kept for *digest*; None without one."""
        return self._open.pop(digest, None)

    def begin(self, digest: Digest) -> bool:
        """Claim the journal entry of *digest*; False if another push in this process has it."""
        if digest in self._pushed:
            return False
        self._pushed[digest] = None
        return True

    def end(self, digest: Digest) -> None:
        """Release the claim of `begin`."""
        self._pushed.pop(digest, None)


class SessionRequests:
    """The requests about the upload session of *blob*: open, query, cancel."""

    def __init__(self, requests: RepositoryRequests, sessions: UploadSessions, blob: Descriptor) -> None:
        self._requests = requests
        self._client = requests.client
        self._sessions = sessions
        self._blob = blob
        self._context = requests.blob_context(blob, upload=True)
        self._opened_at: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether `open` has opened a session, rather than taken the one of a refused mount."""
        return self._opened_at is not None

    def is_elsewhere(self, session: UploadSession) -> bool:
        """Whether the registry sent *session* to another host; False for a session that this object has not opened."""
        return self._opened_at is not None and str(origin_of(session.location)) != self._opened_at

    async def open(self, headers: Mapping[str, str]) -> UploadSession:
        """Return an empty session: the one that a refused mount has left, or a new one."""
        session = self._sessions.take(self._blob.digest)
        if session is not None:
            return session
        query = urlencode(algorithm_query(self._blob.digest))
        path = self._requests.path("blobs/uploads/")
        call = self._requests.build("POST", f"{path}?{query}" if query else path, headers=headers)
        response = await self._client.request(call, self._context, expect={202}, retry=False)
        self._opened_at = str(origin_of(response.url))
        return await session_of(self._requests, response, self._context.what)

    async def post_blob(
        self, headers: Mapping[str, str], body: bytes | RequestBody
    ) -> tuple[BufferedResponse, UploadSession | None]:
        """Send the whole blob with one POST (end-4b); return the response, and the empty session that a 202 opens."""
        path = with_digest(self._requests.path("blobs/uploads/"), self._blob.digest)
        call = self._requests.build("POST", path, headers=headers, body=body)
        response = await self._client.request(call, self._context, expect={201, 202}, retry=False)
        if response.status == HTTPStatus.CREATED:
            return response, None
        self._opened_at = str(origin_of(response.url))
        session = await session_of(self._requests, response, self._context.what)
        return response, session if held_bytes(response) is None else None

    async def query_offset(self, session: UploadSession, headers: Mapping[str, str]) -> UploadSession:
        """Return *session* with the offset and location that the registry states now (end-13)."""
        call = self._requests.build("GET", session.location, headers=headers)
        response = await self._client.request(call, self._context, expect={204, 202, 200}, retry=False)
        self._client.profile.learn_from_headers(response.headers)
        location = await self.moved_location(session, response)
        return replace(session, location=location, offset_bytes=held_bytes(response) or 0, is_acknowledged=True)

    async def moved_location(self, session: UploadSession, response: BufferedResponse) -> str:
        """Return the Location of *response*; without one, the session stays where it is."""
        if not response.headers.get("Location"):
            return session.location
        return await location_of(self._requests, response, self._context.what)

    async def cancel(self, session: UploadSession) -> None:
        """Delete *session*, ignoring failures.

        Many registries require another permission for that, and all of them delete unfinished uploads some day.
        """
        call = replace(self._requests.build("DELETE", session.location), is_optional=True)
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._client.request(call, self._context, expect={204, 202, 200}, retry=False)


class JournaledUpload:
    """The journal entry of the upload of *digest*. Of two pushes of one blob in this process, only one uses it."""

    def __init__(
        self, repository_sessions: UploadSessions, journal: UploadJournal, requests: RepositoryRequests, digest: Digest
    ) -> None:
        self._sessions = repository_sessions
        self._journal = journal
        self._repository = requests.repository
        self._digest = digest
        self._is_claimed = False
        self._has_entry = False
        self._recorded: UploadCheckpoint | None = None

    async def take(self) -> UploadSession | None:
        """Claim the entry; return the session that an earlier push has left, None without one."""
        self._is_claimed = self._sessions.begin(self._digest)
        found = await self._journal.take(self._repository, self._digest) if self._is_claimed else None
        if found is None:
            return None
        self._has_entry = True
        return UploadSession(found.location, found.offset_bytes, is_acknowledged=False)

    def save(self, session: UploadSession | None) -> None:
        """Record *session* if it has moved; None removes the entry."""
        if not self._is_claimed:
            return
        if session is None:
            if self._has_entry:
                self._journal.forget(self._repository, self._digest)
            self._has_entry, self._recorded = False, None
            return
        checkpoint = UploadCheckpoint(session.location, session.offset_bytes)
        if checkpoint != self._recorded:
            self._journal.record(self._repository, self._digest, checkpoint)
            self._has_entry, self._recorded = True, checkpoint

    def release(self) -> None:
        """Release the claim; the entry stays for a later push."""
        if self._is_claimed:
            self._sessions.end(self._digest)


async def session_of(requests: RepositoryRequests, response: BufferedResponse, what: str) -> UploadSession:
    """Return the session that *response* opens; `ProtocolError` if it names no usable location.

    The headers of this response also tell which product the registry is, before the first byte is sent.
    """
    requests.client.profile.learn_from_headers(response.headers)
    least = (response.headers.get("OCI-Chunk-Min-Length") or "").strip()
    location = await location_of(requests, response, what)
    return UploadSession(location, least_bytes=int(least) if _LENGTH.fullmatch(least) else 0)


async def location_of(requests: RepositoryRequests, response: BufferedResponse, what: str) -> str:
    """Return the URL of the upload that *response* names; `ProtocolError` if it names no usable one.

    Without a Location, the upload's id makes the URL. Another host is allowed (it gets no credentials), unless a remote
    registry points to this machine or its link-local network.
    """
    location = response.headers.get("Location")
    upload_id = response.headers.get("Docker-Upload-UUID") or ""
    if not location and _UPLOAD_ID.fullmatch(upload_id):
        location = requests.path(f"blobs/uploads/{upload_id}")
    if not location:
        raise ProtocolError(f"{what}: the registry opened an upload and did not say where", status=response.status)
    url = await requests.client.host.resolve(response.url, location)
    here, there = origin_of(response.url), origin_of(url)
    are_neighbours = there.host == here.host or (is_loopback(here.host) and is_loopback(there.host))
    if not are_neighbours and is_confined(there.host):
        raise ProtocolError(f"{what}: the registry wants the upload at {there}; refused", status=response.status)
    return url


def algorithm_query(digest: Digest) -> Mapping[str, str]:
    """Return what the query of an upload's POST says of the digest algorithm: nothing for sha256, the default.

    distribution-spec, "Pushing blobs": a registry hashes the content while it comes, so it must know how.
    """
    return {} if digest.algorithm == CANONICAL_ALGORITHM else {"digest-algorithm": digest.algorithm}


def with_digest(location: str, digest: Digest) -> str:
    """Return *location* with *digest* added to its query, which stays as it is otherwise: it may be signed."""
    separator = "?" if "?" not in location else "" if location.endswith(("?", "&")) else "&"
    return f"{location}{separator}digest={quote(str(digest), safe='')}"


def held_bytes(response: BufferedResponse) -> int | None:
    """Return how many bytes the registry has, by the Range of *response*; None if that says nothing.

    `0-0` says nothing, since distribution sends it for no byte and for one.
    """
    match = _RANGE.fullmatch((response.headers.get("Range") or "").strip())
    end = int(match[1]) if match else 0
    return end + 1 if end else None
