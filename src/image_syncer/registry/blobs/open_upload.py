"""The session of one push: opened, asked how far it has come after a break, noted for later processes, given up."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from image_syncer.errors import Postponed, StoreError
from image_syncer.oci import Descriptor
from image_syncer.registry.blobs.upload_session import (
    UploadSession,
    UploadSessions,
    held_bytes,
    location_of,
    session_of,
)
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.roles import UploadCheckpoint, UploadJournal

LASTING_BYTES: Final = 8 * 1024 * 1024
"""Uploads of smaller blobs are begun anew: it is not worth a question how far they came."""

_CANCEL_SECONDS: Final = 5.0
_LOST: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


class OpenUpload:
    """Where the content of *blob* goes, from push to push. *session* is None where there is nothing to go on with.

    Of two pushes of one blob at once in this process, one uses *journal*.
    """

    def __init__(
        self, conversation: RepositoryRequests, sessions: UploadSessions, journal: UploadJournal, blob: Descriptor
    ) -> None:
        self._conversation = conversation
        self._sessions = sessions
        self._journal = journal
        self._blob = blob
        self._asked = conversation.blob_context(blob, upload=True)
        self._journaled = False
        self._noted = False
        self._is_unproved = False
        self._doubts = 0  # How often an inherited session could not be asked: once may be chance.
        self.is_lasting = (blob.size or 0) > LASTING_BYTES
        self.session: UploadSession | None = None
        self.is_inherited = False
        """Whether some of what the session has was sent by an earlier push."""

    async def take_over(self) -> None:
        """Go on with what an earlier push began, if the journal has something."""
        self._journaled = self.is_lasting and self._sessions.begin(self._blob.digest)
        if not self._journaled:
            return
        found = await self._journal.take(self._conversation.repository, self._blob.digest)
        if found is not None:
            self.session = UploadSession(found.location, found.offset_bytes, sure=False)
            self._noted = self.is_inherited = self._is_unproved = True

    def release(self) -> None:
        """End the push; what is noted stays for another one."""
        if self._journaled:
            self._sessions.end(self._blob.digest)

    async def begin(self, headers: Mapping[str, str]) -> UploadSession:
        """Return a session to which nothing was sent, opened if no refused mount has left one."""
        session = self._sessions.take(self._blob.digest)
        if session is None:
            call = self._conversation.build("POST", self._conversation.path("blobs/uploads/"), headers=headers)
            answer = await self._conversation.client.request(call, self._asked, expect={202}, retry=False)
            session = await session_of(self._conversation, answer, self._asked.what)
        return self.record(session)

    async def query_offset(self, headers: Mapping[str, str]) -> UploadSession | None:
        """Return the session with what the registry has of it now (end-13); None where that has lost it."""
        session = self.session
        answer = None if session is None else await self._progress(session, headers)
        offset = 0 if answer is None else held_bytes(answer) or 0
        if session is None or answer is None or offset > (self._blob.size or 0):
            self.discard()
            return None
        return self.record(await self.moved(session, answer, offset))

    async def moved(self, session: UploadSession, answer: BufferedResponse, offset: int) -> UploadSession:
        """Return *session* with *offset* bytes in it, at the Location of *answer* if that has one."""
        location = session.location
        if answer.headers.get("Location"):
            location = await location_of(self._conversation, answer, self._asked.what)
        return replace(session, location=location, offset_bytes=offset, sure=True)

    def record(self, session: UploadSession) -> UploadSession:
        """Take *session* for what the registry has now, and note it."""
        self.session = session
        if self._journaled:
            self._noted = True
            unfinished = UploadCheckpoint(session.location, session.offset_bytes)
            self._journal.record(self._conversation.repository, self._blob.digest, unfinished)
        return session

    def mark_offset_unknown(self) -> None:
        """Believe no longer that we know how much the registry has: something is being sent."""
        if self.session is not None:
            self.session = replace(self.session, sure=False)

    def discard(self) -> None:
        """Let the session be: it has ended, or is of no use."""
        self.session = None
        self.is_inherited = False
        if self._noted:
            self._noted = False
            self._journal.forget(self._conversation.repository, self._blob.digest)

    async def cancel(self) -> None:
        """Give the session back. A courtesy: many registries want another right for it, and all tidy up themselves."""
        session = self.session
        self.discard()
        if session is None:
            return
        call = self._conversation.build("DELETE", session.location)
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._conversation.client.request(call, self._asked, expect={204, 202, 200}, retry=False)

    async def _progress(self, session: UploadSession, headers: Mapping[str, str]) -> BufferedResponse | None:
        call = self._conversation.build("GET", session.location, headers=headers)
        try:
            answer = await self._conversation.client.request(call, self._asked, expect={204, 202, 200}, retry=False)
        except Postponed as error:
            self._doubts += self._is_unproved
            if error.status in _LOST or self._doubts > 1:
                return None
            raise
        except StoreError:
            return None  # It does not say, so there is nothing to go on with.
        self._is_unproved = False
        self._conversation.client.profile.learn_from_headers(answer.headers)
        return answer
