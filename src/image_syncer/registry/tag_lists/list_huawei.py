"""Huawei Cloud's SWR lists a hundred tags with their digests in one request (huaweicloudsdkswr, ListRepositoryTags)."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

from image_syncer.registry.auth.cloud_huawei import environment_key
from image_syncer.registry.preparing.create_huawei import api_url, signature
from image_syncer.registry.preparing.creation import ApiCall
from image_syncer.registry.tag_lists.tag_lister import Listing, TagPage, WithoutLogin, entries_in, fields_of, listed
from image_syncer.registry.vendor_api import ApiRequest

_ENTRIES: Final = 100


class HuaweiLister(WithoutLogin):
    """Lists tags by requests that an access key signs."""

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for the tags from the offset *cursor* on; None without a key or a known server."""
        server = listing.server or api_url(listing.registry)
        key = listing.credential or environment_key()
        if not server or key is None or not listing.first:
            return None
        # A slash in the name of a repository is a dollar sign there.
        name = quote(listing.rest.replace("/", "$"), safe="")
        place = f"/v2/manage/namespaces/{quote(listing.first, safe='')}/repos/{name}/tags"
        path = f"{place}?limit={_ENTRIES}&offset={int(cursor or 0)}"
        headers = signature(ApiCall("GET", path), urlsplit(server).netloc, key, datetime.now(UTC))
        return ApiRequest(path, server, headers=headers)

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page, with the time of their last change."""
        entries = entries_in(document)
        tags = [
            tag
            for entry in map(fields_of, entries)
            for tag in listed(entry.get("Tag", entry.get("tag")), entry.get("digest"), entry.get("updated"))
        ]
        return TagPage(tags, str(int(cursor or 0) + len(entries)) if len(entries) >= _ENTRIES else "")


LISTER: Final = HuaweiLister()
