"""GitHub's API lists a hundred versions of a package with their tags in one request (GitHub's documentation)."""

from typing import Final
from urllib.parse import quote

from image_syncer.bounded_json import InvalidJson
from image_syncer.registry.preparing.creation import bearer
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
_OWNERS: Final = {"Organization": "orgs", "User": "users"}


class GithubLister:
    """Lists the versions of a package; each has the digest as its name. Public packages need a token, too."""

    def login(self, listing: Listing) -> ApiRequest | None:
        """Return the request that tells whether the owner is an organisation; None without a token."""
        if not bearer(listing.credential) or not listing.first:
            return None
        return ApiRequest(f"/users/{quote(listing.first, safe='')}", listing.server, headers=_headers(listing))

    def read_token(self, document: object) -> str:
        """Return the collection that the owner is in."""
        kind = fields_of(document).get("type")
        if not isinstance(kind, str) or kind not in _OWNERS:
            raise InvalidJson("no owner")
        return _OWNERS[kind]

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for a page; None without a token."""
        if not listing.token:
            return None
        package = f"{quote(listing.first, safe='')}/packages/container/{quote(listing.rest, safe='')}"
        query = f"per_page={_ENTRIES}&page={page_number(cursor)}"
        return ApiRequest(f"/{listing.token}/{package}/versions?{query}", listing.server, headers=_headers(listing))

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page, with the time when the version of each was last changed."""
        versions = entries_in(document)
        return TagPage(
            [
                tag
                for version in map(fields_of, versions)
                for name in _tags_of(version)
                for tag in listed(name, version.get("name"), version.get("updated_at"))
            ],
            next_number(cursor, has_more=len(versions) >= _ENTRIES),
        )


def _headers(listing: Listing) -> dict[str, str]:
    return {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28", **bearer(listing.credential)}


def _tags_of(version: dict[str, object]) -> list[object]:
    return entries_in(version, "metadata", "container", "tags")


LISTER: Final = GithubLister()
