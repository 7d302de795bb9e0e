"""Checks what a login may push: an upload that is cancelled, a mount, and on request a tag that is deleted again."""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from image_syncer.errors import StoreError
from image_syncer.oci import Descriptor, Digest, Manifest, RawManifest
from image_syncer.oci.media_type import OCI_EMPTY, OCI_MANIFEST
from image_syncer.registry.blobs.blobs import Blobs
from image_syncer.registry.blobs.upload_session import SessionRequests, UploadSession, UploadSessions, held_bytes
from image_syncer.registry.checks.check_values import CheckStep, attempt, failed_step
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.repository import RegistryTarget
from image_syncer.roles import Chunk
from image_syncer.structs import replace

PROBE_TAG: Final = "image-syncer-check"
"""The tag that a check with --write pushes, and deletes again."""

PROBE_BYTES: Final = 1024 * 1024 + 1
"""More than many proxies let pass unless they are configured: nginx allows 1 MiB."""

_EMPTY: Final = Descriptor(OCI_EMPTY, Digest.of(b"{}"), 2)
_STORED: Final = 201
_DELETED: Final = frozenset({200, 202, 204})


class PushCheck:
    """Pushes to one repository, and leaves nothing there. *held* is an image in it, None if it is not known."""

    def __init__(self, requests: RepositoryRequests, target: RegistryTarget, held: RawManifest | None) -> None:
        self._requests = requests
        self._client = requests.client
        self._target = target
        self._held = held

    async def steps(self, *, writes: bool) -> AsyncGenerator[CheckStep]:
        """Yield what each step found; nothing follows if no upload may be opened. *writes*: push a tag, too."""
        content = os.urandom(PROBE_BYTES)
        blob = Descriptor("application/octet-stream", Digest.of(content), len(content))
        sessions = SessionRequests(self._requests, UploadSessions(), blob)
        try:
            session = await sessions.open({})
        except StoreError as error:
            yield failed_step("push", error)
            return
        yield CheckStep("push", "ok", f"an upload to {self._requests.repository} can be opened")
        try:
            chunk, session = await self._chunk(session, sessions, content)
            yield chunk
        finally:
            cancelled = await attempt("cancel", self._cancel(session), on_error="note")
        yield cancelled
        yield await attempt("mount", self._mount(), on_error="warning")
        if writes:
            async for step in self._write():
                yield step

    async def _chunk(
        self, session: UploadSession, sessions: SessionRequests, content: bytes
    ) -> tuple[CheckStep, UploadSession]:
        """Send *content* as the first chunk of *session*; return the result, and the session where it is now."""
        profile = self._client.profile.uploads
        least = max(session.least_bytes, profile.least_bytes)
        if not profile.chunks:
            return CheckStep("chunks", "note", "this registry takes a blob in one request"), session
        if least > len(content):
            return CheckStep("chunks", "note", f"chunks have at least {least} bytes; not tried"), session
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"0-{len(content) - 1}"}
        call = self._requests.build("PATCH", session.location, headers=headers, body=content)
        context = self._requests.context(self._requests.repository, upload=True)
        try:
            response = await self._client.request(call, context, expect={202, 204, _STORED}, retry=False)
            session = replace(session, location=await sessions.moved_location(session, response))
        except StoreError as error:  # A copy falls back to smaller chunks, or to one request for the whole blob.
            return failed_step("chunks", error, "warning"), session
        held = held_bytes(response)
        if response.status == _STORED:
            return CheckStep("chunks", "note", "the registry stores a blob at its first chunk"), session
        if held is not None and held != len(content):
            text = f"the registry has {held} bytes of a chunk of {len(content)}"
            return CheckStep("chunks", "warning", text, "look for a proxy that cuts or buffers requests"), session
        return CheckStep("chunks", "ok", "a chunk of 1 MiB is taken, and can be continued"), session

    async def _cancel(self, session: UploadSession) -> CheckStep:
        call = replace(self._requests.build("DELETE", session.location), is_optional=True)
        context = self._requests.context(self._requests.repository, upload=True)
        await self._client.request(call, context, expect=_DELETED, retry=False)
        return CheckStep("cancel", "ok", "the upload is cancelled")

    async def _mount(self) -> CheckStep:
        """Mount a blob of the repository from the repository itself, which changes nothing."""
        parsed = None if self._held is None else self._held.parse()
        blob = parsed.config if isinstance(parsed, Manifest) else None
        if blob is None:
            return CheckStep("mount", "skipped", "the target repository has no image to try it with")
        sessions = UploadSessions()
        if await Blobs(self._requests, sessions).mount(blob, self._requests.repository):
            return CheckStep("mount", "ok", "the registry mounts blobs from another repository")
        if (session := sessions.take(blob.digest)) is not None:
            await SessionRequests(self._requests, sessions, blob).cancel(session)
        return CheckStep("mount", "note", "the registry mounts no blobs: each repository gets its own upload")

    async def _write(self) -> AsyncGenerator[CheckStep]:
        """Push a small image under the tag of the check, and delete it."""
        manifest = _probe_image()
        try:
            await self._target.push_blob(_EMPTY, _empty_content)
            await self._target.push_manifest(manifest, PROBE_TAG)
        except StoreError as error:
            yield failed_step("write", error)
            return
        yield CheckStep("write", "ok", f"the tag {PROBE_TAG} can be written")
        deleted = await attempt("delete", self._delete(manifest), on_error="note")
        if deleted.status == "ok":
            yield deleted
            return
        yield replace(deleted, remedy=f"the tag {PROBE_TAG} stays at {self._requests.repository}; delete it by hand")

    async def _delete(self, manifest: RawManifest) -> CheckStep:
        repository = self._requests.repository
        call = replace(
            self._requests.build("DELETE", self._requests.path(f"manifests/{manifest.digest}")),
            scopes=(f"repository:{repository.path}:delete,pull,push",),
        )
        await self._client.request(call, self._requests.context(repository), expect=_DELETED, retry=False)
        return CheckStep("delete", "ok", f"the tag {PROBE_TAG} is deleted again")


def _probe_image() -> RawManifest:
    """Return an image that no other tag can have, so that deleting it deletes no other tag."""
    entry = f'{{"mediaType":"{OCI_EMPTY}","digest":"{_EMPTY.digest}","size":{_EMPTY.size}}}'
    text = (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"application/vnd.image-syncer.check",'
        f'"config":{entry},"layers":[{entry}],"annotations":{{"image-syncer.check":"{os.urandom(16).hex()}"}}}}'
    )
    return RawManifest.of(text.encode(), OCI_MANIFEST)


@asynccontextmanager
async def _empty_content(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
    async def chunks() -> AsyncIterator[Chunk]:
        yield b"{}"[start:]

    yield chunks()
