"""Manifests of one repository: looked up, read and put (distribution-spec, "Pulling" and "Pushing manifests")."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from image_syncer.errors import ContentMismatch, MissingContent, ProtocolError, StoreError, TagImmutable
from image_syncer.oci import Descriptor, Digest, RawManifest, Reference, media_type
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.messages import compression_error
from image_syncer.roles import Fence

_LENGTH: Final = re.compile(r"[1-9][0-9]{0,15}")
_ACCEPT: Final = {"Accept": ", ".join(media_type.ACCEPT)}
_HEAD_STATUSES: Final = frozenset({200, 405, 501})  # The last two: no HEAD here, a GET must do.
_PUT_STATUSES: Final = frozenset({201, 200, 202, 204})  # 201 by the book; old Quay says 202, others vary.
_NO_QUERY: Final = frozenset(
    {400, 404, 405, 414, 431, 501}
)  # What a registry may say to a query that it does not know.
_TAGS: Final = 100
_TAGS_BYTES: Final = 4096
_FEW_TAGS: Final = 2  # So few are not worth trying whether a registry takes them at once.


class Manifests:
    """The manifests of one repository."""

    def __init__(self, conversation: RepositoryRequests) -> None:
        self._conversation = conversation
        self._endpoint = conversation.client

    async def head(self, identifier: str) -> Descriptor:
        """Return what the tag or digest *identifier* names; `NotFound` if nothing.

        One HEAD. Where its answer does not say type and digest the manifest is read and hashed.
        """
        reference = self._conversation.reference(identifier)
        call = self._conversation.build("HEAD", self._path(reference), headers=_ACCEPT, follow=True)
        answer = await self._endpoint.request(call, self._conversation.context(reference), expect=_HEAD_STATUSES)
        described = _described(answer, reference)
        return described if described is not None else (await self.get(identifier)).descriptor

    async def get(self, identifier: str) -> RawManifest:
        """Return the manifest at *identifier*; its bytes have the digest that was asked for or promised."""
        reference = self._conversation.reference(identifier)
        call = self._conversation.build("GET", self._path(reference), headers=_ACCEPT, follow=True)
        asked = self._conversation.context(reference)

        async def read(_: int) -> RawManifest:
            answer = await self._endpoint.request(
                call, asked, expect={200}, limit_bytes=MANIFEST_LIMIT_BYTES, retry=False
            )
            return _read(answer, reference)

        return await self._endpoint.retrying.run(read)

    async def put(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store the very bytes of *manifest* at *identifier*; `MissingContent`, `TagImmutable`, `LeaseLost` and others.

        *fence* is checked right before each attempt.
        """
        reference = self._conversation.reference(identifier)
        headers = {"Content-Type": manifest.media_type}
        call = self._conversation.build("PUT", self._path(reference), headers=headers, body=manifest.content)
        call = replace(call, fence=fence)
        asked = self._conversation.context(reference, manifest=True)
        try:
            answer = await self._endpoint.request(call, asked, expect=_PUT_STATUSES)
        except TagImmutable:
            if await self._holds(manifest, identifier):
                return  # An earlier try got through and its answer did not, or somebody else was faster.
            raise
        _check_stored(answer, manifest, reference)

    async def put_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Give *manifest*, which is here, as many of *tags* as one PUT can; return those that the registry confirmed.

        distribution-spec, end-7b. Whether a registry can do that shows at the first PUT of at least three tags. After
        a no, and where nothing is known and *tags* are few, nothing is asked.
        """
        quirks, fitting = self._endpoint.profile, _fitting(tags)
        if quirks.many_tags is None and len(fitting) > _FEW_TAGS:
            async with self._endpoint.probing:  # Those who come meanwhile wait for what we learn.
                if quirks.many_tags is None:
                    return await self._put_at_once(manifest, fitting, fence)
        if quirks.many_tags and len(fitting) >= _FEW_TAGS:
            return await self._put_at_once(manifest, fitting, fence)
        return frozenset()

    async def _put_at_once(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None) -> frozenset[str]:
        """Put *manifest* with *tags*, and learn whether the registry can do that.

        What may be about one of the tags or about the manifest leads to none confirmed: each tag alone will show it.
        Trouble that has nothing to do with the way (too many requests, a server's errors, a lack of rights) is raised.
        """
        reference = self._conversation.reference(str(manifest.digest))
        target = (
            f"{self._path(reference)}?{'&'.join(f'tag={self._conversation.reference(tag).identifier}' for tag in tags)}"
        )
        headers = {"Content-Type": manifest.media_type}
        call = self._conversation.build("PUT", target, headers=headers, body=manifest.content)
        call = replace(call, fence=fence)
        asked, quirks = self._conversation.context(reference, manifest=True), self._endpoint.profile
        try:
            answer = await self._endpoint.request(call, asked, expect=_PUT_STATUSES)
        except (TagImmutable, MissingContent):
            return frozenset()
        except StoreError as error:
            if error.retryable or error.status not in _NO_QUERY:
                raise
            quirks.many_tags = bool(quirks.many_tags)  # Who could do it before has another reason now.
            return frozenset()
        _check_stored(answer, manifest, reference)
        confirmed = _confirmed(answer, tags)
        quirks.many_tags = bool(quirks.many_tags or confirmed)
        return confirmed

    async def _holds(self, manifest: RawManifest, identifier: str) -> bool:
        with suppress(StoreError):  # The refusal that made us look says more than a failure to look.
            return (await self.head(identifier)).digest == manifest.digest
        return False

    def _path(self, reference: Reference) -> str:
        return self._conversation.path(f"manifests/{reference.identifier}")


def _described(answer: BufferedResponse, reference: Reference) -> Descriptor | None:
    """Return what a HEAD tells of *reference*, None where that is not enough."""
    kind = media_type.essence(answer.headers.get("Content-Type") or "")
    digest = answer.digest
    if answer.status != HTTPStatus.OK or digest is None or kind not in media_type.MANIFESTS:
        return None
    wanted = reference.digest
    if wanted is not None and wanted.algorithm == digest.algorithm and wanted != digest:
        raise ContentMismatch(f"{reference}: the registry says that this has the digest {digest}")
    length = answer.headers.get("Content-Length") or ""
    return Descriptor(kind, wanted or digest, int(length) if _LENGTH.fullmatch(length) else None)


def _read(answer: BufferedResponse, reference: Reference) -> RawManifest:
    """Return the manifest in *answer*, checked against the digest asked for, or else the one in its header."""
    content = answer.content
    content_type = answer.headers.get("Content-Type") or ""
    promised = reference.digest or answer.digest
    found = Digest.of(content, promised.algorithm) if promised else None
    try:
        manifest = RawManifest.of(content, content_type, what=str(reference))
    except ProtocolError as error:
        if (trouble := compression_error(answer.headers, reference)) is not None:
            raise trouble from error
        if found != promised:
            raise _mismatch(reference, found, promised) from error
        raise
    if promised is None:
        return manifest
    if promised not in {found, manifest.digest}:  # The latter: the digest of signed schema 1 leaves signatures out.
        raise _mismatch(reference, found, promised)
    return replace(manifest, digest=promised)


def _fitting(tags: Sequence[str]) -> list[str]:
    """Return the first of *tags*, each once, that fit into one request."""
    fitting, room = list[str](), _TAGS_BYTES
    for tag in dict.fromkeys(tags):
        room -= len(f"&tag={tag}")
        if len(fitting) == _TAGS or room < 0:
            break
        fitting.append(tag)
    return fitting


def _confirmed(answer: BufferedResponse, tags: Iterable[str]) -> frozenset[str]:
    """Return those of *tags* that *answer* names in OCI-Tag, whose values may share a line."""
    said = {tag.strip() for line in answer.headers.all("OCI-Tag") for tag in line.split(",")}
    return frozenset(said.intersection(tags)) if answer.status == HTTPStatus.CREATED else frozenset()


def _check_stored(answer: BufferedResponse, manifest: RawManifest, reference: Reference) -> None:
    stored = answer.digest
    if stored is None or stored in {manifest.digest, Digest.of(manifest.content, stored.algorithm)}:
        return
    raise ContentMismatch(f"{reference}: pushed as {manifest.digest}, but the registry stored {stored}")


def _mismatch(reference: Reference, found: Digest | None, promised: Digest | None) -> ContentMismatch:
    return ContentMismatch(f"{reference}: the bytes have digest {found}, not {promised}")
