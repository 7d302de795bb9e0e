"""Blobs of one repository: looked for, read, and taken over from another repository; `push` writes them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from urllib.parse import urlencode

from image_syncer.cache import DigestCheckpoints, skipped, verified
from image_syncer.errors import ContentMismatch, StoreError, TooLarge
from image_syncer.oci import Descriptor, Repository, Verifier
from image_syncer.registry.blobs.download import Download
from image_syncer.registry.blobs.upload_session import UploadSessions, session_of
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.error_mapping import ErrorContext
from image_syncer.registry.http.request_body import in_pieces
from image_syncer.registry.limits.limiter import SMALL_BLOB_BYTES, is_small
from image_syncer.roles import Chunk


class Blobs:
    """The blobs of one repository. A refused mount leaves its upload session in *sessions*."""

    def __init__(self, conversation: RepositoryRequests, sessions: UploadSessions) -> None:
        self._conversation = conversation
        self._endpoint = conversation.client
        self._sessions = sessions

    async def has(self, blob: Descriptor) -> bool:
        """Whether the repository holds *blob*: one HEAD."""
        call = self._conversation.build("HEAD", self._conversation.blob_path(blob), follow=True)
        asked = self._conversation.blob_context(blob)
        return (await self._endpoint.request(call, asked, expect={200, 404})).status == HTTPStatus.OK

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, trails: DigestCheckpoints, start: int = 0
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*, verified while it flows; the read of a big one leaves its trail.

        Opening is retried; a read that breaks off goes on as `Download` says. A small blob has been read when it is
        open, and holds no place any more.
        """
        asked = self._conversation.blob_context(blob)
        small = is_small(blob.size)
        verifier, trail = Verifier(blob.digest, blob.size, asked.what), None
        if not small:
            verifier, trail = trails.begin(self._conversation.repository, blob, start, asked.what)
        begin = verifier.seen_bytes
        async with AsyncExitStack() as stack:
            if small:
                chunks = await self._read(blob, asked)
            else:
                download = Download(self._conversation, blob, begin)
                chunks = (await stack.enter_async_context(download)).chunks()
            forget = partial(trails.forget, self._conversation.repository, blob.digest)
            checked = await stack.enter_async_context(aclosing(_checked(verified(chunks, verifier, trail), forget)))
            if start > begin:
                checked = await stack.enter_async_context(aclosing(skipped(checked, start - begin)))
            yield checked

    async def _read(self, blob: Descriptor, asked: ErrorContext) -> AsyncGenerator[Chunk]:
        call = self._conversation.build("GET", self._conversation.blob_path(blob), follow=True)
        try:
            answer = await self._endpoint.request(call, asked, expect={200}, limit_bytes=SMALL_BLOB_BYTES)
        except TooLarge as error:
            raise ContentMismatch(
                f"{asked.what}: the registry sends more than its size", status=error.status
            ) from error
        return in_pieces(answer.content).chunks()

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Take *blob* over from *origin* at the same registry; False where that was not done, for any reason.

        distribution-spec, "Mounting a blob from another repository". The session that a refusal opens is kept for the
        push that follows.
        """
        query = urlencode({"mount": str(blob.digest), "from": origin.path})
        call = self._conversation.build("POST", f"{self._conversation.path('blobs/uploads/')}?{query}")
        call = replace(call, scopes=(*call.scopes, f"repository:{origin.path}:pull"))
        asked = self._conversation.blob_context(blob, upload=True)
        try:
            answer = await self._endpoint.request(call, asked, expect={201, 202})
            if answer.status == HTTPStatus.CREATED:
                return answer.digest in {None, blob.digest}
            self._sessions.keep(blob.digest, await session_of(self._conversation, answer, asked.what))
        except StoreError:
            return False  # A mount only saves work. What is really wrong shows in the push, which must do without it.
        return False


async def _checked(chunks: AsyncGenerator[Chunk], forget: Callable[[], None]) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on, and *forget* what was read where they are found wrong: nobody knows which of the bytes are."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except ContentMismatch:
        forget()
        raise
