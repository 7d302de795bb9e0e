"""zot's search extension lists a thousand images in one request (its `pkg/extensions/search/schema.graphql`)."""

import json
from typing import Final

from image_syncer.registry.tag_lists.tag_lister import Listing, TagPage, WithoutLogin, entries_in, fields_of, listed
from image_syncer.registry.vendor_api import ApiRequest

_ENTRIES: Final = 1000


class ZotLister(WithoutLogin):
    """Lists the images of a repository by GraphQL, with the registry's own login. Its dates are those of builders."""

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for the images from the offset *cursor* on."""
        page = f"{{limit: {_ENTRIES}, offset: {int(cursor or 0)}, sortBy: ALPHABETIC_ASC}}"
        wanted = "{Page {TotalCount} Results {Tag Digest}}"
        query = f"{{ImageList(repo: {json.dumps(listing.path)}, requestedPage: {page}) {wanted}}}"
        scope = f"repository:{listing.path}:pull"
        return ApiRequest("/v2/_zot/ext/search", method="POST", document={"query": query}, scope=scope)

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the images of a page; an error of GraphQL has no list."""
        entries = entries_in(document, "data", "ImageList", "Results")
        found = fields_of(fields_of(fields_of(document).get("data")).get("ImageList"))
        total = fields_of(found.get("Page")).get("TotalCount")
        end = int(cursor or 0) + len(entries)
        has_more = len(entries) >= _ENTRIES and (not isinstance(total, int) or end < total)
        tags = [tag for entry in map(fields_of, entries) for tag in listed(entry.get("Tag"), entry.get("Digest"))]
        return TagPage(tags, str(end) if has_more else "")


LISTER: Final = ZotLister()
