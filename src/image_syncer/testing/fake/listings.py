"""Listings: tags, referrers and the catalog, page by page (distribution-spec end-8, end-12; distribution's catalog)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from image_syncer.oci import RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing.fake.answers import RegistryError, document
from image_syncer.testing.fake.blobs import parse_digest
from image_syncer.testing.fake.storage import Storage


class ListingHandlers:
    """Answers listings with at most *page_limit* entries each; with *digests* tags say what they name."""

    def __init__(self, storage: Storage, *, page_limit: int = 1000, digests: bool = False) -> None:
        self._storage = storage
        self._digests = digests
        self._page_limit = page_limit

    async def tags(self, request: web.Request) -> web.Response:
        """Answer GET tags/list, in lexical order."""
        name = request.match_info["name"]
        repository = self._storage.repositories.get(name)
        if repository is None:
            raise RegistryError(404, "NAME_UNKNOWN", "repository name not known to registry")
        page, headers = self._page(request, sorted(repository.tags))
        manifests: dict[str, Any] = {}
        for tag in page if self._digests else ():
            entry = manifests.setdefault(str(repository.tags[tag]), {"tag": [], "timeUploadedMs": "1700000000000"})
            entry["tag"].append(tag)
        more: dict[str, Any] = {"child": [], "manifest": manifests} if self._digests else {}
        return document({"name": name, "tags": page, **more}, headers=headers)

    async def catalog(self, request: web.Request) -> web.Response:
        """Answer GET /v2/_catalog."""
        page, headers = self._page(request, sorted(self._storage.repositories))
        return document({"repositories": page}, headers=headers)

    async def referrers(self, request: web.Request) -> web.Response:
        """Answer GET referrers: an index of what names the digest as its subject, empty if nothing does."""
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
        """Return the entries after `last`, at most `n`, and a Link (relative) if there are more."""
        last = request.query.get("last", "")
        limit = self._limit(request.query.get("n"))
        rest = [entry for entry in entries if entry > last]
        page = rest[:limit]
        if not page or len(page) == len(rest):
            return page, {}
        query = {key: value for key, value in request.query.items() if key != "last"}
        link = f'<{request.path}?{urlencode(query | {"last": page[-1]})}>; rel="next"'
        return page, {"Link": link}

    def _limit(self, text: str | None) -> int:
        if text is None:
            return self._page_limit
        if not text.isdecimal():
            raise RegistryError(400, "PAGINATION_NUMBER_INVALID", "n is no number of entries")
        return min(int(text), self._page_limit)


def _referrer(raw: RawManifest, subject: str) -> dict[str, Any] | None:
    """Return the entry for *raw* in the list of referrers of *subject*, None if it is none."""
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
