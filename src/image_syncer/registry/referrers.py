"""What is attached to the manifests of one repository: by the referrers API, or by the tag schema without it.

distribution-spec, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers Tag Schema". Whether a registry
has the API is learnt from its responses and remembered for a week.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import (
    Denied,
    MissingContent,
    NotFound,
    ProtocolError,
    Refused,
    StoreError,
    TooLarge,
    Unauthorized,
)
from image_syncer.oci import Descriptor, Digest, RawManifest, media_type
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.oci.referrer import (
    REFERRERS_LIMIT,
    legacy_tags,
    merge_referrers,
    parse_referrers,
    referrers_tag,
)
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.manifests import Manifests
from image_syncer.registry.paging import next_link
from image_syncer.roles import Fence

API_FACT: Final = "referrers_api"
"""The key of `HostFacts` that says whether a registry has the referrers API."""

ListedTags = Callable[[], Awaitable[frozenset[str] | None]]

_API_SECONDS: Final = 7 * 24 * 3600.0
_ACCEPT: Final = {"Accept": media_type.OCI_INDEX}
# Answers of registries without the API to its path. A 404 about the repository or the subject says nothing about it.
_NO_API: Final = frozenset({400, 404, 405, 410, 501})
_UNDECIDED: Final = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN"})
_PAGES_LIMIT: Final = 50
_LOOKS_AT_ONCE: Final = 8
_WRITES_LIMIT: Final = 4
"""How often the index of the tag schema is written again when other writers replace it meanwhile."""


class Referrers:
    """The referrers of one repository. *listed_tags* returns its referrer tags; None if its tag list is not known."""

    def __init__(self, requests: RepositoryRequests, manifests: Manifests, listed_tags: ListedTags) -> None:
        self._requests = requests
        self._client = requests.client
        self._manifests = manifests
        self._listed_tags = listed_tags

    async def find(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*; empty without any.

        *children* are the entries of *subject*: a list of them is no list of referrers. `TooLarge` above
        `REFERRERS_LIMIT`.
        """
        known = await self._has_api()
        if known is not False:
            listed = await self._by_api(subject, children)
            if listed:
                self._learn(has_api=True)
            if listed or (known and listed is not None):
                return listed
            # An empty answer from a host that never listed anything: it may not know the path at all.
            found = await self._by_tag_schema(subject, children)
            if listed is not None:
                self._learn(has_api=not found)
            return found
        return await self._by_tag_schema(subject, children)

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist."""
        listed = await self._listed_tags()
        names = [tag for tag in legacy_tags(subject) if listed is None or tag in listed]
        found: dict[str, Descriptor] = {}

        async def look(tag: str) -> None:
            with suppress(NotFound, Denied, Unauthorized):  # Some registries answer 403 where nothing exists.
                found[tag] = await self._manifests.head(tag)

        await for_each(names, look, width=len(names) or 1)
        return {tag: found[tag] for tag in names if tag in found}

    async def push(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Store *manifest* by its digest; whether the registry lists it by itself (`OCI-Subject`)."""
        is_listed = await self._manifests.put_referrer(manifest, fence)
        if is_listed:
            self._learn(has_api=True)
        return is_listed

    async def add_to_index(self, subject: Digest, entries: Sequence[Descriptor], fence: Fence | None = None) -> None:
        """Add *entries* to the index of the tag schema; writes it again if another writer removed them meanwhile.

        `Refused` if the tag names something else, which is kept. `MissingContent` if one of *entries* is not there.
        """
        tag, gone = referrers_tag(subject), frozenset[Digest]()
        failure: StoreError | None = None
        for _ in range(_WRITES_LIMIT):
            existing = await self._index(tag, subject)
            merged = merge_referrers(existing, entries, gone=gone)
            if merged is None:
                return
            try:
                await self._manifests.put(merged, tag, fence)
            except MissingContent as error:
                # Some of the listed manifests were deleted, and this registry checks them. Or none is missing:
                # docker-registry misses a manifest for a moment while another client pushes it again, since it writes
                # the link file in place.
                if await self._missing(entries):
                    raise
                failure = error
                gone = await self._missing(parse_referrers(existing, subject)) if existing is not None else gone
                continue
            failure = None
            with suppress(NotFound):
                if (await self._manifests.head(tag)).digest == merged.digest:
                    return
        raise failure or Refused(
            f"{self._requests.repository}:{tag}: other writers replace this index again and again",
            remedy="run again when they are done",
        )

    async def _missing(self, entries: Sequence[Descriptor]) -> frozenset[Digest]:
        """Return the digests of those *entries* that the repository does not hold."""
        missing: set[Digest] = set()

        async def look(entry: Descriptor) -> None:
            try:
                await self._manifests.head(str(entry.digest))
            except NotFound:
                missing.add(entry.digest)

        await for_each(entries, look, width=_LOOKS_AT_ONCE)
        return frozenset(missing)

    async def _index(self, tag: str, subject: Digest) -> RawManifest | None:
        """Return the index at the target; None without one."""
        try:
            raw = await self._manifests.get(tag)
        except NotFound:
            return None
        try:
            parse_referrers(raw, subject)
        except ProtocolError as error:
            message = f"{self._requests.repository}:{tag}: names something else than a list of referrers: {error}"
            raise Refused(message, remedy="remove that tag if no one needs it") from error
        return raw

    async def _by_tag_schema(self, subject: Digest, children: Collection[Digest]) -> tuple[Descriptor, ...]:
        tag = referrers_tag(subject)
        listed = await self._listed_tags()
        if listed is not None and tag not in listed:
            return ()
        try:
            raw = await self._manifests.get(tag)
        except (NotFound, Denied, Unauthorized):  # The image itself was readable, so this tag does not exist.
            return ()
        except ProtocolError:
            return ()  # Not even a manifest.
        try:
            return parse_referrers(raw, subject, children)
        except ProtocolError as error:
            self._client.observer.on_warning(f"{self._requests.repository}:{tag}: ignored: {error}")
            return ()

    async def _by_api(self, subject: Digest, children: Collection[Digest]) -> tuple[Descriptor, ...] | None:
        """Return what the API lists; None if the response is not that of the API."""
        entries: dict[Digest, Descriptor] = {}
        visited: set[str] = set()
        url: str | None = self._requests.path(f"referrers/{subject}")
        while url is not None:
            page = await self._page(url, subject)
            if page is None:
                return None
            listed = _entries(page, subject, children)
            if listed is None:
                return None
            entries |= {entry.digest: entry for entry in listed}
            if len(entries) > REFERRERS_LIMIT or len(visited) >= _PAGES_LIMIT:
                raise TooLarge(f"{self._requests.repository}: {subject}: more than {REFERRERS_LIMIT} referrers")
            visited.add(page.url)
            url = await self._next_url(page)
            if url in visited:
                raise ProtocolError(f"{self._requests.repository}: the pages of referrers form a loop")
        return tuple(entries.values())

    async def _page(self, url: str, subject: Digest) -> BufferedResponse | None:
        call = self._requests.build("GET", url, headers=_ACCEPT, follow=True)
        context = self._requests.context(f"referrers of {self._requests.repository}@{subject}")
        try:
            return await self._client.request(call, context, expect={200}, limit_bytes=MANIFEST_LIMIT_BYTES)
        except (Denied, Unauthorized):
            return None  # Pulling is allowed, so this path is not known.
        except StoreError as error:
            if error.retryable or error.status not in _NO_API:
                raise
            if error.code not in _UNDECIDED:
                self._learn(has_api=False)
            return None

    async def _next_url(self, page: BufferedResponse) -> str | None:
        link = next_link(page.headers.all("Link"))
        if link is None:
            return None
        url = await self._client.host.resolve(page.url, link)
        if origin_of(url) != origin_of(page.url):
            raise ProtocolError(f"{self._requests.repository}: the next page of referrers is at another host")
        return url

    async def _has_api(self) -> bool | None:
        """Whether the registry has the API; None while unknown."""
        profile = self._client.profile
        if profile.referrers_api is None:
            fact = await self._client.facts.get(self._client.host.name, API_FACT)
            if fact is not None and profile.referrers_api is None:
                profile.referrers_api = fact.value == "yes"
        return profile.referrers_api

    def _learn(self, *, has_api: bool) -> None:
        if self._client.profile.referrers_api is not has_api:
            self._client.profile.referrers_api = has_api
            value = "yes" if has_api else "no"
            self._client.facts.remember(self._client.host.name, API_FACT, value, seconds=_API_SECONDS)


def _entries(page: BufferedResponse, subject: Digest, children: Collection[Digest]) -> tuple[Descriptor, ...] | None:
    """Return the entries of one page; None if the document is no list of referrers."""
    content_type = media_type.essence(page.headers.get("Content-Type") or "")
    if page.status != HTTPStatus.OK or content_type != media_type.OCI_INDEX:
        return None
    try:
        raw = RawManifest.of(page.content, content_type)
        return parse_referrers(raw, subject, children) if raw.document.get("schemaVersion") == _SCHEMA_VERSION else None
    except ProtocolError:
        return None


_SCHEMA_VERSION: Final = 2
