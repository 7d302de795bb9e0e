"""The API of hub.docker.com lists a hundred tags with their digests in one request (Docker's documentation)."""

from typing import Final
from urllib.parse import quote

from image_syncer.bounded_json import InvalidJson
from image_syncer.registry.tag_lists.tag_lister import (
    Listing,
    TagPage,
    entries_in,
    fields_of,
    listed,
    next_number,
    page_number,
)
from image_syncer.registry.vendor_api import ApiRequest

_ENTRIES: Final = 100


class DockerHubLister:
    """Lists the tags of public repositories without a login, of others with a token for user and password."""

    def login(self, listing: Listing) -> ApiRequest | None:
        """Return the request that exchanges user and password for a token; None without them."""
        credential = listing.credential
        if credential is None or not credential.username:
            return None
        document = {"identifier": credential.username, "secret": credential.password}
        return ApiRequest("/v2/auth/token", listing.server, "POST", document)

    def read_token(self, document: object) -> str:
        """Return the token."""
        token = fields_of(document).get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise InvalidJson("no access token")
        return token

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for a page; None for a repository without a namespace."""
        if not listing.first:
            return None
        place = f"/v2/namespaces/{quote(listing.first, safe='')}/repositories/{quote(listing.rest, safe='')}/tags"
        headers = {"Authorization": f"Bearer {listing.token}"} if listing.token else {}
        return ApiRequest(f"{place}?page_size={_ENTRIES}&page={page_number(cursor)}", listing.server, headers=headers)

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page; those without a digest, which were pushed long ago, are left out."""
        tags = [
            tag
            for entry in map(fields_of, entries_in(document, "results"))
            for tag in listed(entry.get("name"), entry.get("digest"), entry.get("tag_last_pushed"))
        ]
        return TagPage(tags, next_number(cursor, has_more=bool(fields_of(document).get("next"))))


LISTER: Final = DockerHubLister()
