"""Quay's API lists a hundred tags with their digests in one request (its `endpoints/api/tag.py`)."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from image_syncer.registry.preparing.creation import bearer
from image_syncer.registry.tag_lists.tag_lister import (
    Listing,
    TagPage,
    WithoutLogin,
    entries_in,
    fields_of,
    listed,
    next_number,
    page_number,
)
from image_syncer.registry.vendor_api import ApiRequest

_ENTRIES: Final = 100
_LATEST_SECONDS: Final = 10**11  # The year 5138.


class QuayLister(WithoutLogin):
    """Lists the tags of public repositories without a login, of others with an OAuth token of `control:`."""

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for a page."""
        query = f"limit={_ENTRIES}&page={page_number(cursor)}&onlyActiveTags=true"
        path = f"/api/v1/repository/{quote(listing.path)}/tag/?{query}"
        return ApiRequest(path, listing.server, headers=bearer(listing.credential))

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page, with the time when each got its digest."""
        tags = [
            tag
            for entry in map(fields_of, entries_in(document, "tags"))
            for tag in listed(entry.get("name"), entry.get("manifest_digest"), _time(entry.get("start_ts")))
        ]
        return TagPage(tags, next_number(cursor, has_more=fields_of(document).get("has_additional") is True))


def _time(seconds: object) -> datetime | None:
    if not isinstance(seconds, int) or not 0 < seconds < _LATEST_SECONDS:
        return None
    return datetime.fromtimestamp(seconds, UTC)


LISTER: Final = QuayLister()
