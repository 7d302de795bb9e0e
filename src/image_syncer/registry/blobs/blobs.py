"""Blobs of one repository: HEAD, read, and mount from another repository; `upload` writes them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from http import HTTPStatus
from urllib.parse import urlencode

from image_syncer.cache import DigestCheckpoints, finished, inspect, skipped
from image_syncer.errors import ContentMismatch, StoreError, TooLarge
from image_syncer.oci import Descriptor, Repository, Verifier
from image_syncer.registry.blobs.download import Download
from image_syncer.registry.blobs.upload_session import UploadSessions, algorithm_query, session_of
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.error_mapping import ErrorContext
from image_syncer.registry.limits.limiter import SMALL_BLOB_BYTES, is_small
from image_syncer.roles import Chunk
from image_syncer.structs import replace


class Blobs:
    """The blobs of one repository. A refused mount leaves its upload session in *sessions*."""

    def __init__(self, requests: RepositoryRequests, sessions: UploadSessions) -> None:
        self.mount_refusal: StoreError | None = None
        self._requests = requests
        self._client = requests.client
        self._sessions = sessions

    async def has(self, blob: Descriptor) -> bool:
        """Whether the repository is known to hold *blob*, by one HEAD.

        A storage host that the registry redirects to and that refuses HEAD says nothing: False, so mount or push.
        """
        call = self._requests.head(self._requests.blob_path(blob))
        context = self._requests.blob_context(blob)
        response = await self._client.request(call, context, expect={200, 404})
        return response.is_found

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, checkpoints: DigestCheckpoints, start: int = 0
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*, verified while it flows; a big one records *checkpoints*.

        Opening is retried; an interrupted read resumes as `Download` says. A small blob is already read when this
        returns, and holds no slot any more.
        """
        context = self._requests.blob_context(blob)
        if is_small(blob.size):
            async with aclosing(_verified(await self._read(blob, context), blob, context.what, start)) as whole:
                yield whole
            return
        verifier, recorded = checkpoints.begin(self._requests.repository, blob, start, context.what)
        begin = verifier.seen_bytes
        async with AsyncExitStack() as stack:
            # The bytes are hashed where they are received, which may be in a thread.
            download = Download(self._requests, blob, begin, partial(inspect, verifier, recorded))
            chunks = finished((await stack.enter_async_context(download)).chunks(), verifier)
            forget = partial(checkpoints.forget, self._requests.repository, blob.digest)
            checked = await stack.enter_async_context(aclosing(_checked(chunks, forget)))
            if start > begin:
                checked = await stack.enter_async_context(aclosing(skipped(checked, start - begin)))
            yield checked

    async def _read(self, blob: Descriptor, context: ErrorContext) -> bytes:
        call = self._requests.build("GET", self._requests.blob_path(blob), follow=True)
        try:
            response = await self._client.request(call, context, expect={200}, limit_bytes=SMALL_BLOB_BYTES)
        except TooLarge as error:
            raise ContentMismatch(
                f"{context.what}: the registry sends more than its size", status=error.status
            ) from error
        return response.content

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Mount *blob* from *origin* of the same registry; False if that fails for any reason.

        distribution-spec, "Mounting a blob from another repository". The session that a refusal opens is kept for the
        push that follows. Some registries respond 500 to every mount and are otherwise healthy, so a 5xx is not
        retried and opens no circuit breaker.
        """
        query = urlencode({"mount": str(blob.digest), "from": origin.path, **algorithm_query(blob.digest)})
        call = self._requests.build("POST", f"{self._requests.path('blobs/uploads/')}?{query}")
        call = replace(call, scopes=(*call.scopes, f"repository:{origin.path}:pull"), is_optional=True)
        context = self._requests.blob_context(blob, upload=True)
        try:
            response = await self._client.request(call, context, expect={201, 202})
            if response.status == HTTPStatus.CREATED:
                return response.digest in {None, blob.digest}
            self._sessions.keep(blob.digest, await session_of(self._requests, response, context.what))
        except StoreError as error:
            self.mount_refusal = error
            return False  # A mount only saves work. If something is wrong, the push that follows reports it.
        return False


async def _verified(content: bytes, blob: Descriptor, what: str, start: int) -> AsyncGenerator[Chunk]:
    """Yield the whole *content* of *blob* from byte *start* on, once it is verified."""
    verifier = Verifier(blob.digest, blob.size, what)
    verifier.update(content)
    verifier.finish()
    if start < len(content):
        yield memoryview(content)[start:] if start else content


async def _checked(chunks: AsyncGenerator[Chunk], forget: Callable[[], None]) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on; if they are wrong, *forget* the checkpoints, since it is unknown which bytes are wrong."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except ContentMismatch:
        forget()
        raise
