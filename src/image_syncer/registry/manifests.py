"""Looks up, reads and pushes the manifests of one repository (distribution-spec, "Pulling" and "Pushing")."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from image_syncer.errors import (
    ContentMismatch,
    MissingContent,
    ProtocolError,
    Refused,
    StoreError,
    TagImmutable,
    UnsupportedDigest,
)
from image_syncer.oci import Descriptor, Digest, Manifest, RawManifest, Reference, media_type
from image_syncer.oci.digest import CANONICAL_ALGORITHM
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.messages import compression_error
from image_syncer.roles import Fence
from image_syncer.structs import replace

_LENGTH: Final = re.compile(r"[1-9][0-9]{0,15}")
ACCEPT_MANIFESTS: Final = {"Accept": ", ".join(media_type.ACCEPT)}
"""The header of requests for manifests."""
_HEAD_STATUSES: Final = frozenset({200, 405, 501})  # The last two mean no support for HEAD: a GET follows.
_PUT_STATUSES: Final = frozenset({201, 200, 202, 204})  # The specification says 201; old Quay answers 202, others vary.
# Statuses that a registry may answer to a query that it does not support.
_NO_QUERY: Final = frozenset({400, 404, 405, 414, 431, 501})
# Some registries answer one of these to every HEAD. At a target, 404 mostly means that the tag is new: no second look.
_HEAD_REFUSALS: Final = {"source": frozenset({400, 401, 403, 404}), "target": frozenset({400, 401, 403})}
_READ_AHEAD: Final = 1_000
_READ_AHEAD_BYTES: Final = 8 * 1024 * 1024
_TAGS: Final = 100
_TAGS_BYTES: Final = 4096
_FEW_TAGS: Final = 2  # For so few tags, the multi-tag PUT is not worth a trial request.


class ReadAhead:
    """Manifests that a lookup had to read, until they are taken once; bounded by their number and their bytes."""

    def __init__(self) -> None:
        self._manifests: OrderedDict[Reference, RawManifest] = OrderedDict()
        self._size_bytes = 0

    def keep(self, reference: Reference, manifest: RawManifest) -> None:
        """Keep *manifest* of *reference*, under its digest; the oldest go beyond the bounds."""
        key = reference.repository.at(manifest.digest)
        self.take(key)
        self._manifests[key] = manifest
        self._size_bytes += len(manifest.content)
        while self._size_bytes > _READ_AHEAD_BYTES or len(self._manifests) > _READ_AHEAD:
            _, dropped = self._manifests.popitem(last=False)
            self._size_bytes -= len(dropped.content)

    def take(self, reference: Reference) -> RawManifest | None:
        """Return the manifest with the digest of *reference*, and forget it; None if it is not kept."""
        manifest = self._manifests.pop(reference, None)
        if manifest is not None:
            self._size_bytes -= len(manifest.content)
        return manifest


_ALLOW_URLS: Final = "let the target accept urls of layers (docker-registry: validation.manifests.urls.allow)"
_PUT_STATUSES_EXTERNAL: Final = _PUT_STATUSES | {HTTPStatus.INTERNAL_SERVER_ERROR}
"""A registry that demands non-distributable layers may answer 500 to a manifest without them: that is no outage."""


class Manifests:
    """The manifests of one repository.

    A manifest that `head` had to read is kept in *read_ahead* for the `get` that mostly follows; None keeps nothing.
    """

    def __init__(self, requests: RepositoryRequests, read_ahead: ReadAhead | None = None) -> None:
        self._requests = requests
        self._client = requests.client
        self._read_ahead = read_ahead
        self._head_refusals = _HEAD_REFUSALS[requests.side]

    async def head(self, identifier: str) -> Descriptor:
        """Return the descriptor of the tag or digest *identifier*, by one HEAD; `NotFound` if there is none.

        If the response lacks the media type or the digest, the manifest is read and hashed. The same if the host that
        a redirect leads to refuses HEAD, or if this registry is known to refuse it.
        """
        reference, profile = self._requests.reference(identifier), self._client.profile
        if profile.answers_head is False:
            return (await self._get_ahead(reference)).descriptor
        call = self._requests.head(self._path(reference), headers=ACCEPT_MANIFESTS)
        try:
            response = await self._client.request(call, self._requests.context(reference), expect=_HEAD_STATUSES)
        except StoreError as refusal:
            if profile.answers_head or refusal.status not in self._head_refusals:
                raise
            return await self._get_after_refused_head(reference, refusal)
        described = _described(response, reference)
        if response.status == HTTPStatus.OK:
            profile.answers_head = True
        return described if described is not None else (await self._get_ahead(reference)).descriptor

    async def get(self, identifier: str) -> RawManifest:
        """Return the manifest at *identifier*, verified against the requested digest or else the announced one."""
        reference = self._requests.reference(identifier)
        ahead = self._read_ahead.take(reference) if self._read_ahead is not None else None
        return ahead or await self._get(reference)

    async def _get_after_refused_head(self, reference: Reference, refusal: StoreError) -> Descriptor:
        """Return the descriptor of *reference* by a GET, if this registry refuses HEAD only; else raise *refusal*.

        One GET per registry finds that out: concurrent callers wait for its result.
        """
        profile = self._client.profile
        async with self._client.head_probe:
            if profile.answers_head is None:
                try:
                    manifest = await self._get_ahead(reference)
                except StoreError:
                    profile.answers_head = True
                    raise refusal from None
                profile.answers_head = False
                return manifest.descriptor
        if profile.answers_head:
            raise refusal
        return (await self._get_ahead(reference)).descriptor

    async def _get_ahead(self, reference: Reference) -> RawManifest:
        manifest = await self._get(reference)
        if self._read_ahead is not None:
            self._read_ahead.keep(reference, manifest)
        return manifest

    async def _get(self, reference: Reference) -> RawManifest:
        call = self._requests.build("GET", self._path(reference), headers=ACCEPT_MANIFESTS, follow=True)
        context = self._requests.context(reference)

        async def read(_: int) -> RawManifest:
            response = await self._client.request(
                call, context, expect={200}, limit_bytes=MANIFEST_LIMIT_BYTES, retry=False
            )
            return _read(response, reference)

        return await self._client.retrying.run(read)

    async def put(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> BufferedResponse | None:
        """Store *manifest* byte for byte at *identifier*; `MissingContent`, `TagImmutable`, `LeaseLost` and others.

        *fence* is checked right before each attempt. Returns the response; None if another request confirmed the PUT.
        """
        reference = self._requests.reference(identifier)
        headers = {"Content-Type": manifest.media_type}
        call = self._requests.build("PUT", self._path(reference), headers=headers, body=manifest.content)
        call = replace(call, fence=fence)
        context = self._requests.context(reference, manifest=True)
        if reference.tag is not None and manifest.digest.algorithm != CANONICAL_ALGORITHM:
            await self._put_under_digest(manifest, reference, fence)
            return None
        expect = _PUT_STATUSES_EXTERNAL if _names_external_layers(manifest) else _PUT_STATUSES
        try:
            response = await self._client.request(call, context, expect=expect)
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:  # Twice is no accident.
                response = await self._client.request(call, context, expect=expect)
        except TagImmutable:
            if await self._holds(manifest, identifier):
                return None  # An earlier attempt succeeded but its response was lost, or another client was faster.
            raise
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            message = f"{reference}: the registry answers 500 to this manifest, whose layers have urls"
            raise Refused(message, status=response.status, remedy=_ALLOW_URLS)
        _check_stored(response, manifest, reference)
        return response

    async def put_referrer(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Store *manifest* by its digest; whether the registry lists it as a referrer of its subject (end-7a)."""
        response = await self.put(manifest, str(manifest.digest), fence)
        return response is not None and bool(response.headers.get("OCI-Subject"))

    async def _put_under_digest(self, manifest: RawManifest, reference: Reference, fence: Fence | None) -> None:
        """Tag *manifest* so that its tag keeps a digest that is not sha256; `UnsupportedDigest` if that is impossible.

        A PUT to the tag alone would let the registry choose sha256. distribution-spec, end-7b, names both.
        """
        tag = reference.identifier
        try:
            confirmed = await self._put_with_query(manifest, [tag], fence)
        except TagImmutable:
            if await self._holds(manifest, tag):
                return
            raise
        except StoreError as error:
            if error.retryable or isinstance(error, MissingContent) or error.status not in _NO_QUERY:
                raise
            raise _unsupported(reference, manifest) from error
        if tag not in confirmed and not await self._holds(manifest, tag):
            raise _unsupported(reference, manifest)

    async def put_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Tag *manifest*, already in the repository, with as many of *tags* as one PUT carries; return the confirmed.

        distribution-spec, end-7b. The first PUT with at least three tags tells whether the registry supports it.
        Nothing is sent if the registry does not, or if support is unknown and *tags* are few.
        """
        profile, batch = self._client.profile, _batch(tags)
        if profile.many_tags is None and len(batch) > _FEW_TAGS:
            async with self._client.multi_tag_probe:  # Concurrent callers wait for the result of the first PUT.
                if profile.many_tags is None:
                    return await self._put_batch(manifest, batch, fence)
        if profile.many_tags and len(batch) >= _FEW_TAGS:
            return await self._put_batch(manifest, batch, fence)
        return frozenset()

    async def _put_batch(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None) -> frozenset[str]:
        """Put *manifest* with *tags* in the query, and record whether the registry supports that.

        An error that may concern one tag or the manifest confirms no tag: pushing each tag alone will show it. Errors
        that do not concern the query (rate limits, server errors, missing rights) are raised.
        """
        profile = self._client.profile
        try:
            confirmed = await self._put_with_query(manifest, tags, fence)
        except (TagImmutable, MissingContent):
            return frozenset()
        except StoreError as error:
            if error.retryable or error.status not in _NO_QUERY:
                raise
            profile.many_tags = bool(profile.many_tags)  # Once it has worked, this error has another reason.
            return frozenset()
        profile.many_tags = bool(profile.many_tags or confirmed)
        return confirmed

    async def _put_with_query(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None) -> frozenset[str]:
        """Put *manifest* at its digest with *tags* in the query; return the tags that the registry confirms."""
        reference = self._requests.reference(str(manifest.digest))
        query = "&".join(f"tag={self._requests.reference(tag).identifier}" for tag in tags)
        headers = {"Content-Type": manifest.media_type}
        call = self._requests.build("PUT", f"{self._path(reference)}?{query}", headers=headers, body=manifest.content)
        context = self._requests.context(reference, manifest=True)
        response = await self._client.request(replace(call, fence=fence), context, expect=_PUT_STATUSES)
        _check_stored(response, manifest, reference)
        return _confirmed(response, tags)

    async def _holds(self, manifest: RawManifest, identifier: str) -> bool:
        with suppress(StoreError):  # The refusal that led here says more than a failure of this check.
            return (await self.head(identifier)).digest == manifest.digest
        return False

    def _path(self, reference: Reference) -> str:
        return self._requests.path(f"manifests/{reference.identifier}")


def _described(response: BufferedResponse, reference: Reference) -> Descriptor | None:
    """Return the descriptor from a HEAD of *reference*; None if the response lacks type or digest."""
    kind = media_type.essence(response.headers.get("Content-Type") or "")
    digest = response.digest
    if response.status != HTTPStatus.OK or digest is None or kind not in media_type.MANIFESTS:
        return None
    wanted = reference.digest
    if wanted is not None and wanted.algorithm == digest.algorithm and wanted != digest:
        raise ContentMismatch(f"{reference}: the registry says that this has the digest {digest}")
    length = response.headers.get("Content-Length") or ""
    return Descriptor(kind, wanted or digest, int(length) if _LENGTH.fullmatch(length) else None)


def _names_external_layers(manifest: RawManifest) -> bool:
    parsed = manifest.parse()
    return isinstance(parsed, Manifest) and bool(parsed.external_layers)


def _read(response: BufferedResponse, reference: Reference) -> RawManifest:
    """Return the manifest in *response*, verified against the requested digest, or else the announced one."""
    content = response.content
    content_type = response.headers.get("Content-Type") or ""
    expected = reference.digest or response.digest
    found = Digest.of(content, expected.algorithm) if expected else None
    try:
        manifest = RawManifest.of(content, content_type, what=str(reference))
    except ProtocolError as error:
        if (compression := compression_error(response.headers, reference)) is not None:
            raise compression from error
        if found != expected:
            raise _mismatch(reference, found, expected) from error
        raise
    if expected is None:
        return manifest
    # Also the manifest's own digest: that of a signed schema 1 manifest excludes the signatures.
    if expected not in {found, manifest.digest}:
        raise _mismatch(reference, found, expected)
    return replace(manifest, digest=expected)


def _batch(tags: Sequence[str]) -> list[str]:
    """Return the first distinct *tags* that fit into one request."""
    batch, free_bytes = list[str](), _TAGS_BYTES
    for tag in dict.fromkeys(tags):
        free_bytes -= len(f"&tag={tag}")
        if len(batch) == _TAGS or free_bytes < 0:
            break
        batch.append(tag)
    return batch


def _confirmed(response: BufferedResponse, tags: Iterable[str]) -> frozenset[str]:
    """Return the *tags* that *response* confirms in OCI-Tag headers, one or several per line."""
    confirmed = {tag.strip() for line in response.headers.all("OCI-Tag") for tag in line.split(",")}
    return frozenset(confirmed.intersection(tags)) if response.status == HTTPStatus.CREATED else frozenset()


def _check_stored(response: BufferedResponse, manifest: RawManifest, reference: Reference) -> None:
    stored = response.digest
    if stored is None or stored in {manifest.digest, Digest.of(manifest.content, stored.algorithm)}:
        return
    raise ContentMismatch(f"{reference}: pushed as {manifest.digest}, but the registry stored {stored}")


def _unsupported(reference: Reference, manifest: RawManifest) -> UnsupportedDigest:
    return UnsupportedDigest(
        f"{reference}: the registry does not store a tag under a {manifest.digest.algorithm} digest",
        remedy="set other_digests: rename in the rule to store it under its sha256 digest",
    )


def _mismatch(reference: Reference, found: Digest | None, expected: Digest | None) -> ContentMismatch:
    return ContentMismatch(f"{reference}: the bytes have digest {found}, not {expected}")
