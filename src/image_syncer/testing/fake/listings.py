"""Listings: tags, referrers and the catalog, page by page (distribution-spec end-8, end-12; distribution's catalog)."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from image_syncer.oci import RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing.fake.answers import RegistryError, document
from image_syncer.testing.fake.blobs import parse_digest
from image_syncer.testing.fake.storage import FakeRepository, Storage
from image_syncer.testing.profile import Profile


class ListingHandlers:
    """Handlers for listings, page by page as the profile says."""

    def __init__(self, storage: Storage, profile: Profile) -> None:
        self._storage = storage
        self._profile = profile
        self._tokens: dict[str, str] = {}

    async def tags(self, request: web.Request) -> web.Response:
        """Answer GET tags/list, in lexical order."""
        name = request.match_info["name"]
        repository = self._storage.repositories.get(name)
        if repository is None:
            raise RegistryError.of(self._profile.unknown_repository)
        page, headers = self._page(request, self._entries(repository))
        tags = None if self._profile.null_tags and not page else page
        more: dict[str, Any] = (
            {"child": [], "manifest": _named(repository, page)} if self._profile.listed_digests else {}
        )
        return document({"name": name, "tags": tags, **more}, self._profile.listing_type, headers)

    def _entries(self, repository: FakeRepository) -> list[str]:
        tagged = set(repository.tags.values())
        digests = repository.manifests if self._profile.digests_among_tags else ()
        entries = [*repository.tags, *(str(digest) for digest in digests if digest not in tagged)]
        return sorted(entries) if self._profile.sorted_tags else entries

    async def catalog(self, request: web.Request) -> web.Response:
        """Answer GET /v2/_catalog."""
        if not self._profile.catalog:
            raise RegistryError(404, "UNSUPPORTED", "there is no catalog")
        page, headers = self._page(request, sorted(self._storage.repositories))
        return document({"repositories": page}, headers=headers)

    async def referrers(self, request: web.Request) -> web.Response:
        """Answer GET referrers: an index of the manifests whose subject is the digest, possibly empty."""
        subject = str(parse_digest(request.match_info["digest"]))
        wanted = request.query.get("artifactType")
        repository = self._storage.repositories.get(request.match_info["name"])
        entries: dict[str, dict[str, Any]] = {}
        for raw in repository.manifests.values() if repository else ():
            entry = _referrer(raw, subject)
            if entry is not None and wanted in {None, entry["artifactType"]}:
                entries[entry["digest"]] = entry
        page, headers = self._page(request, sorted(entries))
        if wanted is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [entries[digest] for digest in page]}
        return document(index, types.OCI_INDEX, headers)

    def _page(self, request: web.Request, entries: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the entries of one page, and a Link header if there are more."""
        limit = self._limit(request.query.get("n"))
        if limit is None:
            return list(entries), {}
        last = self._last(request, entries)
        rest = [entry for entry in entries if entry > last]
        page = rest[:limit]
        if not page or len(page) == len(rest) or self._profile.link == "absent":
            return page, {}
        return page, {"Link": f'<{self._link(request, page[-1])}>; rel="next"'}

    def _last(self, request: web.Request, entries: Sequence[str]) -> str:
        """Return the entry after which the page begins, empty for the first page."""
        if self._profile.cursor == "token":
            return self._tokens.get(request.query.get("next_page", ""), "")
        last = request.query.get("last", "")
        if last and last not in entries and self._profile.cursor == "existing":
            raise RegistryError(404, "NAME_UNKNOWN", "no such last entry")
        return last

    def _link(self, request: web.Request, last: str) -> str:
        query = {key: value for key, value in request.query.items() if key not in {"last", "next_page"}}
        if self._profile.cursor == "token":
            token = secrets.token_urlsafe(8)
            self._tokens[token] = last
            query["next_page"] = token
        else:
            query["last"] = last
        origin = f"{request.scheme}://{request.host}" if self._profile.link == "absolute" else ""
        return f"{origin}{request.path}?{urlencode(query | dict(self._profile.link_query))}"

    def _limit(self, text: str | None) -> int | None:
        """Return the size limit of a page, None for all entries at once."""
        if self._profile.pages == "never" or (self._profile.pages == "asked" and text is None):
            return None
        if text is None:
            return self._profile.page_limit
        if not text.isdecimal() or (self._profile.page_limit_refused and int(text) > self._profile.page_limit):
            raise RegistryError(400, "PAGINATION_NUMBER_INVALID", "n is no number of entries")
        return min(int(text), self._profile.page_limit)


def _named(repository: FakeRepository, tags: Iterable[str]) -> dict[str, Any]:
    """Return the manifests behind *tags*, in the format of Google's registries."""
    manifests: dict[str, Any] = {}
    for tag in tags:
        entry = manifests.setdefault(str(repository.tags[tag]), {"tag": [], "timeUploadedMs": "1700000000000"})
        entry["tag"].append(tag)
    return manifests


def _referrer(raw: RawManifest, subject: str) -> dict[str, Any] | None:
    """Return the entry for *raw* in the referrers of *subject*, None if *raw* does not refer to it."""
    named = raw.parse().subject
    if named is None or str(named.digest) != subject:
        return None
    content = raw.document
    config: dict[str, Any] = content.get("config") or {}
    entry: dict[str, Any] = {
        "mediaType": raw.media_type,
        "digest": str(raw.digest),
        "size": len(raw.content),
        "artifactType": content.get("artifactType") or config.get("mediaType", ""),
    }
    return entry | ({"annotations": content["annotations"]} if content.get("annotations") else {})
