"""Upload sessions: where content goes, and how much of it is there (distribution-spec, "Pushing blobs")."""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from image_syncer.errors import ProtocolError
from image_syncer.oci import Digest
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.urls import is_confined, is_loopback, origin_of

_SESSIONS_LIMIT: Final = 64
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9._=~-]{1,256}")
_RANGE: Final = re.compile(r"(?:bytes[ =])?0-([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload that is open at *location*, with *offset_bytes* of the blob in it.

    *sure*: the registry has said so, and nothing was sent since. *least_bytes* is what its chunks must have.
    """

    location: str = field(repr=False)  # Whoever has it may write there.
    offset_bytes: int = 0
    least_bytes: int = 0
    sure: bool = True


class UploadSessions:
    """The uploads of one repository, by blob: sessions that are open and unused, and which blobs are on their way."""

    def __init__(self) -> None:
        self._open: OrderedDict[Digest, UploadSession] = OrderedDict()
        self._pushed: set[Digest] = set()

    def keep(self, digest: Digest, session: UploadSession) -> None:
        """Keep *session* for *digest*; the oldest of 64 are forgotten."""
        self._open[digest] = session
        if len(self._open) > _SESSIONS_LIMIT:
            self._open.popitem(last=False)

    def take(self, digest: Digest) -> UploadSession | None:
        """Return the session that waits for *digest* and forget it; None if there is none."""
        return self._open.pop(digest, None)

    def begin(self, digest: Digest) -> bool:
        """Note that *digest* is on its way; False where it is already, by somebody else's push."""
        if digest in self._pushed:
            return False
        self._pushed.add(digest)
        return True

    def end(self, digest: Digest) -> None:
        """Note that the push that began is over."""
        self._pushed.discard(digest)


async def session_of(conversation: RepositoryRequests, answer: BufferedResponse, what: str) -> UploadSession:
    """Return the session that *answer* opens; `ProtocolError` where it names none that is usable.

    What opens an upload also says what kind of registry it is, in time for the first byte.
    """
    conversation.client.profile.learn_from_headers(answer.headers)
    least = (answer.headers.get("OCI-Chunk-Min-Length") or "").strip()
    location = await location_of(conversation, answer, what)
    return UploadSession(location, least_bytes=int(least) if _LENGTH.fullmatch(least) else 0)


async def location_of(conversation: RepositoryRequests, answer: BufferedResponse, what: str) -> str:
    """Return the URL of the upload that *answer* names; `ProtocolError` where it names none that is usable.

    Without a Location the session's id makes one. Another host is fine (it gets no credentials), unless a registry
    elsewhere sends us to this machine or its link.
    """
    location = answer.headers.get("Location")
    upload_id = answer.headers.get("Docker-Upload-UUID") or ""
    if not location and _UPLOAD_ID.fullmatch(upload_id):
        location = conversation.path(f"blobs/uploads/{upload_id}")
    if not location:
        raise ProtocolError(f"{what}: the registry opened an upload and did not say where", status=answer.status)
    url = await conversation.client.host.resolve(answer.url, location)
    here, there = origin_of(answer.url), origin_of(url)
    neighbours = there.host == here.host or (is_loopback(here.host) and is_loopback(there.host))
    if not neighbours and is_confined(there.host):
        raise ProtocolError(f"{what}: the registry wants the upload at {there}; refused", status=answer.status)
    return url


def with_digest(location: str, digest: Digest) -> str:
    """Return *location* with *digest* in its query; what is there stays as it is, since it may be signed."""
    separator = "?" if "?" not in location else "" if location.endswith(("?", "&")) else "&"
    return f"{location}{separator}digest={quote(str(digest), safe='')}"


def held_bytes(answer: BufferedResponse) -> int | None:
    """Return how many bytes of the upload the registry has by its Range; None where that tells nothing.

    `0-0` means nothing or one byte (distribution), so it tells nothing.
    """
    match = _RANGE.fullmatch((answer.headers.get("Range") or "").strip())
    end = int(match[1]) if match else 0
    return end + 1 if end else None
