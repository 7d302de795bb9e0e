"""Push of a blob (distribution-spec, "Pushing blobs"): the driver that does the requests of `upload_steps`.

A registry that stores a blob with one POST gets small ones so; the first one is a trial, and its result is remembered.
A larger blob gains nothing: its source is opened while a POST opens the session.

Otherwise POST opens a session. The content goes with the closing PUT, which saves a request and is 14 % faster than a
PATCH followed by an empty PUT. A blob that is larger than a chunk goes in PATCHes before that, each of which is a
checkpoint.
Each response's Location replaces the last one; the digest is appended to it.

After a break the registry is asked for the offset, and the content is opened there. If it has lost the session, a new
one begins, with smaller chunks on connections of their own (distribution 2.8 loses a session with any body that breaks
off).

A small blob is read whole before the first request to the target, and goes out in request slots. A big one streams
through an upload slot; its source is opened while the session is. In both cases the slot is released while a source
keeps us waiting.
"""

import asyncio
from collections.abc import Container
from http import HTTPStatus
from typing import Final, cast

from image_syncer.concurrency.taskpool import first_of
from image_syncer.errors import (
    ContentMismatch,
    NotFound,
    ProtocolError,
    Refused,
    StoreError,
    Unauthorized,
    Unavailable,
)
from image_syncer.oci import Descriptor
from image_syncer.oci.digest import CANONICAL_ALGORITHM
from image_syncer.registry.blobs.upload_content import NotOpenYet, UploadContent
from image_syncer.registry.blobs.upload_events import (
    Action,
    AttemptFailed,
    BlobChecked,
    BlobPosted,
    CheckBlob,
    ContentDelayed,
    EndAttempt,
    Event,
    Fail,
    Finish,
    OffsetQueried,
    OpenSession,
    PartPatched,
    PartRefused,
    PostBlob,
    PostRefused,
    QueryOffset,
    SendPart,
    SessionOpened,
    SlotTaken,
    Started,
    TakeSlot,
    UploadClosed,
)
from image_syncer.registry.blobs.upload_session import (
    JournaledUpload,
    SessionRequests,
    UploadSession,
    UploadSessions,
    held_bytes,
    with_digest,
)
from image_syncer.registry.blobs.upload_steps import UploadState, next_step
from image_syncer.registry.blobs.upload_strategy import UploadFacts, UploadStrategy
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.host import Call
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.limits.limiter import is_small
from image_syncer.roles import Opener, UploadJournal
from image_syncer.structs import replace

_CLOSED: Final = frozenset({200, 201, 202, 204})
_PATCHED: Final = frozenset({200, 201, 202, 204, 416})
SINGLE_POST: Final = "single_post"
"""The key of `HostFacts` that says whether a POST with the content stores a blob."""
_SETTLING_SECONDS: Final = 0.25
_SETTLING_QUERIES: Final = 40
_SINGLE_POST_SECONDS: Final = 7 * 86400.0


class BlobUpload:
    """The upload of one blob to one repository."""

    def __init__(
        self,
        requests: RepositoryRequests,
        sessions: UploadSessions,
        journal: UploadJournal,
        blob: Descriptor,
        content: Opener,
    ) -> None:
        self._requests = requests
        self._client = requests.client
        self._session = SessionRequests(requests, sessions, blob)
        self._journal = JournaledUpload(sessions, journal, requests, blob.digest)
        self._blob = blob
        self._is_small = is_small(blob.size)
        self._content = UploadContent(content)
        self._context = requests.blob_context(blob, upload=True)
        strategy = UploadStrategy.of(blob.size, self._facts())
        self._is_inherited = False  # Whether an earlier process opened the session, and may have content on its way.
        self._has_reached = False  # Whether a request to the location of a session ever succeeded.
        # A session that a refused mount has left needs no POST. Registries may not take other digests in a POST.
        is_plain = blob.digest.algorithm == CANONICAL_ALGORITHM and not sessions.has(blob.digest)
        self._may_post = self._is_small and bool(blob.size) and is_plain
        what, registry = self._context.what, self._context.registry
        self._state = UploadState(blob, what, registry, strategy, may_post=self._may_post)

    @property
    def source_failure(self) -> Exception | None:
        """The exception that reading the content raised last, None without one."""
        return self._content.failure

    async def run(self) -> None:
        """Store the blob. Reads the content once per attempt, from the offset that the registry has.

        Errors of the content are raised unchanged. If the content cannot even be opened, there is no retry here, since
        the opener has retried. Bytes are not hashed here: sources do that, and so does the registry, whose
        DIGEST_INVALID becomes a `ContentMismatch`.
        """
        try:
            if self._state.is_lasting:
                session = await self._journal.take()
                self._is_inherited = session is not None
                self._state = self._state if session is None else self._state.inherit(session)
            elif self._may_post:
                await self._recall_single_post()
            final = await self._client.retrying.run(self._attempt, advanced=self._take_progress)
        finally:
            self._journal.release()
            self._remember_single_post()
        if final is not None:
            raise final

    async def _recall_single_post(self) -> None:
        """Read what an earlier process learnt about a POST with content, unless this one has."""
        profile = self._client.profile
        if profile.single_post is None:
            fact = await self._client.facts.get(self._client.host.name, SINGLE_POST)
            if fact is not None and profile.single_post is None:
                profile.single_post = fact.value == "yes"

    def _remember_single_post(self) -> None:
        takes_post = self._state.takes_post
        if takes_post is not None:
            value = "yes" if takes_post else "no"
            self._client.facts.remember(self._client.host.name, SINGLE_POST, value, seconds=_SINGLE_POST_SECONDS)

    def _take_progress(self) -> bool:
        """Return whether the upload got further since the last call."""
        advanced, self._state = self._state.has_advanced, replace(self._state, has_advanced=False)
        return advanced

    def _step(self, event: Event) -> Action:
        """Apply *event*. Nothing is awaited here, so no other upload's lessons are lost."""
        facts = self._facts()
        self._state, learnt, action = next_step(self._state, event, facts)
        if learnt is not facts:
            learnt.save(self._client.profile)
        self._journal.save(self._state.session)
        return action

    def _facts(self) -> UploadFacts:
        return UploadFacts.of(self._client.profile, self._client.retrying.clock.monotonic())

    async def _attempt(self, _: int) -> StoreError | None:
        """Try once. Raises an error to retry; returns an error that must not be retried, None on success."""
        try:
            action = self._step(Started())
            if isinstance(action, CheckBlob):
                action = self._step(await self._find_blob())
            if isinstance(action, TakeSlot):
                await self._push()
        except StoreError as error:
            content = self._content
            failed = AttemptFailed(error, error is content.failure, content.was_opened, content.position)
            match self._step(failed):
                case EndAttempt(cancel=cancel, may_retry=may_retry):
                    if cancel is not None:
                        await self._session.cancel(cancel)
                    if not may_retry:
                        return error
                case action:
                    raise AssertionError(f"unreachable: {action} after a failure") from error
            raise
        finally:
            self._content.forget()
        return None

    async def _push(self) -> None:
        """Send the content in an upload slot, which is released whenever the source keeps us waiting."""
        opening_seconds = self._client.limits.opening_seconds
        for seconds in (opening_seconds, opening_seconds, None):
            self._content.opening_seconds = seconds
            try:
                async with self._client.limiter.upload(self._blob.size):
                    return await self._push_in_slot()
            except NotOpenYet:
                self._step(ContentDelayed())
                session = self._state.session
                await self._content.wait_for(0 if session is None else session.offset_bytes)
        raise AssertionError("unreachable: the last attempt waits without a limit")

    async def _push_in_slot(self) -> None:
        if self._is_small:
            await self._content.load(self._context.what)
        try:
            action = self._step(SlotTaken())
            while not isinstance(action, Finish):
                action = self._step(await self._perform(action))
        finally:
            await self._content.close()

    async def _perform(self, action: Action) -> Event:
        """Do *action* and return what happened."""
        match action:
            case OpenSession():
                return SessionOpened(await self._open_session())
            case PostBlob():
                return await self._post_blob(action)
            case QueryOffset():
                try:
                    session = await self._query_offset(action.session)
                except StoreError as error:
                    return OffsetQueried(error)
                self._has_reached = True
                return OffsetQueried(session)
            case SendPart() | CheckBlob():
                return await self._perform_refusable(action)
            case Fail():
                raise action.error
            case _:
                raise AssertionError(f"unreachable: {action} within a slot")

    async def _query_offset(self, session: UploadSession) -> UploadSession:
        """Return *session* with the registry's offset; that of an earlier process only once it has stopped growing.

        A proxy between may still deliver what that process sent before it was killed. Content that we send meanwhile
        would mix with it, and the registry would refuse the whole blob.
        """
        found = await self._session.query_offset(session, self._facts().headers())
        for _ in range(_SETTLING_QUERIES if self._is_inherited else 0):
            if found.offset_bytes == self._blob.size:
                break
            await self._client.retrying.clock.sleep(_SETTLING_SECONDS)
            before, found = found, await self._session.query_offset(found, self._facts().headers())
            if found.offset_bytes == before.offset_bytes:
                break
        self._is_inherited = False
        return found

    async def _open_session(self) -> UploadSession:
        """Open a session, and the content of a large blob at the same time: neither waits for the other's round trip.

        The opening holds its slots in the order of `limiter`: the upload slot is taken, the download slot comes next,
        and the POST only needs a request slot.
        """
        if self._is_small:
            return await self._session.open(self._facts().headers())
        try:
            async with asyncio.TaskGroup() as group:
                opening = group.create_task(self._session.open(self._facts().headers()), name="upload session")
                await self._content.open_early(0)
        except BaseExceptionGroup as error:
            raise first_of(cast("BaseException", error)) from None
        return opening.result()

    async def _post_blob(self, action: PostBlob) -> Event:
        """Send the blob, which `load` has read, with the POST; refusals are events, since a session may take it."""
        await self._content.open(0)
        body = self._content.body(0, action.part.length, last=True, at_once=True)
        try:
            response, session = await self._session.post_blob(self._facts().headers(action.part), body)
        except StoreError as error:
            if isinstance(error, Unauthorized) or (error.retryable and not isinstance(error, ContentMismatch)):
                raise
            return PostRefused(error)
        return BlobPosted(response.status, response.digest, session)

    async def _perform_refusable(self, action: SendPart | CheckBlob) -> Event:
        """Do *action*; a refusal by the target is an event, since there may be another way."""
        try:
            return await (self._check_blob() if isinstance(action, CheckBlob) else self._send_part(action))
        except Refused as refusal:
            if refusal is self._content.failure:
                raise
            await self._content.close()
            return PartRefused(refusal)

    async def _send_part(self, action: SendPart) -> Event:
        if action.part.has_body:
            await self._content.open(action.part.start)
        try:
            event = await (self._close(action) if action.part.closes else self._patch(action))
        except StoreError:
            if self._content.failure is None:
                raise
        else:
            is_complete = action.part.closes or event.status == HTTPStatus.CREATED
            if is_complete:
                await self._content.close()
            if not is_complete or self._content.failure is None:
                return event
        # The content broke off. The response of the registry, if any, follows from that.
        raise self._content.failure

    async def _patch(self, action: SendPart) -> PartPatched:
        part, began = action.part, self._facts()
        body = self._content.body(part.start, part.length, last=part.is_last)
        call = self._requests.build("PATCH", action.session.location, headers=began.headers(part), body=body)
        response = await self._send(call, action, expect=_PATCHED)
        seconds = self._facts().now - began.now
        location = await self._session.moved_location(action.session, response)
        sent_end = self._content.position
        return PartPatched(response.status, held_bytes(response), location, response.digest, sent_end, seconds)

    async def _close(self, action: SendPart) -> UploadClosed:
        part = action.part
        body: bytes | RequestBody = b""
        if part.has_body:
            at_once = not self._session.is_elsewhere(action.session)
            body = self._content.body(part.start, part.length, last=True, at_once=at_once)
        url = with_digest(action.session.location, self._blob.digest)
        call = self._requests.build("PUT", url, headers=self._facts().headers(part), body=body)
        response = await self._send(call, action, expect=_CLOSED)
        return UploadClosed(response.status, response.digest)

    async def _send(self, call: Call, action: SendPart, *, expect: Container[int]) -> BufferedResponse:
        """Send *call* in the upload slot that we hold, or in a request slot for a small blob."""
        slot = "request" if self._is_small else "upload"
        if self._session.is_elsewhere(action.session):
            call = replace(call, is_elsewhere=True)
        try:
            response = await self._client.request(call, self._context, expect=expect, retry=False, slot=slot)
        except StoreError as error:
            if error is self._content.failure:
                raise
            is_known = self._state.is_resumable or self._state.is_kept
            if not (self._has_reached or self._state.is_kept) and self._leads_nowhere(call, error):
                raise self._wrong_location(action.session.location, error) from error
            if isinstance(error, NotFound) and is_known and error.code != "NAME_UNKNOWN":
                # The registry knew the session a moment ago, so the session is lost, not the repository.
                raise Unavailable(error.message, status=error.status, code=error.code) from error
            raise
        self._has_reached = True
        return response

    def _leads_nowhere(self, call: Call, error: StoreError) -> bool:
        """Whether *error* to the first request of a new upload means that the registry sent a wrong Location.

        There is nothing at that path, though the repository exists (a lost session has a code of its own); or there is
        no connection to that other host.
        """
        if isinstance(error, NotFound):
            return self._session.is_new and error.code != "NAME_UNKNOWN"
        return call.is_elsewhere and error.status is None and not self._content.was_sent

    def _wrong_location(self, location: str, error: StoreError) -> ProtocolError:
        origin = origin_of(location)
        where = f"{origin.scheme}://{origin}"
        message = (
            f"{self._context.what}: the registry sent the upload to {where}, where it leads nowhere: {error.message}"
        )
        remedy = (
            f"{self._context.registry}, or a proxy before it, sends a wrong Location: set its external URL"
            " (in distribution http.host; for a proxy X-Forwarded-Host and X-Forwarded-Proto)"
        )
        return ProtocolError(message, status=error.status, remedy=remedy)

    async def _find_blob(self) -> BlobChecked:
        """Look whether an attempt without a response stored the blob; a storage that refuses HEAD says no."""
        call = self._requests.head(self._requests.blob_path(self._blob))
        context = self._requests.blob_context(self._blob)
        response = await self._client.request(call, context, expect={200, 404}, retry=False)
        return BlobChecked(response.is_found)

    async def _check_blob(self) -> BlobChecked:
        call = self._requests.build("HEAD", self._requests.blob_path(self._blob), follow=True)
        context = self._requests.blob_context(self._blob)
        response = await self._client.request(call, context, expect={200, 404}, retry=False)
        return BlobChecked(response.status == HTTPStatus.OK)
