"""Azure's registry lists a hundred tags with their digests in one request (azure-containerregistry)."""

from typing import Final
from urllib.parse import quote, urlencode

from image_syncer.registry.tag_lists.tag_lister import Listing, TagPage, WithoutLogin, entries_in, fields_of, listed
from image_syncer.registry.vendor_api import ApiRequest

_ENTRIES: Final = 100


class AzureLister(WithoutLogin):
    """Lists tags with a token of the registry for metadata."""

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for the tags after *cursor*."""
        query = {"n": str(_ENTRIES), **({"last": cursor} if cursor else {})}
        scope = f"repository:{listing.path}:metadata_read"
        return ApiRequest(f"/acr/v1/{quote(listing.path)}/_tags?{urlencode(query)}", scope=scope)

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page, with the time of their last change; the last one is the next cursor."""
        del cursor
        entries = [fields_of(entry) for entry in entries_in(document, "tags")]
        tags = [
            tag
            for entry in entries
            for tag in listed(entry.get("name"), entry.get("digest"), entry.get("lastUpdateTime"))
        ]
        last = entries[-1].get("name") if len(entries) >= _ENTRIES else ""
        return TagPage(tags, last if isinstance(last, str) else "")


LISTER: Final = AzureLister()
