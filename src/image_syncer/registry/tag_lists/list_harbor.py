"""Harbor's API lists a hundred artifacts with their tags in one request (its `api/v2.0/swagger.yaml`)."""

from typing import Final
from urllib.parse import quote

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
from image_syncer.registry.vendors.vendor_profile import ListedTag

_ENTRIES: Final = 100  # Harbor refuses larger pages.
_ARTIFACTS: Final = "/api/v2.0/projects/{project}/repositories/{name}/artifacts"


class HarborLister(WithoutLogin):
    """Lists the tagged artifacts of a repository; the API takes user and password, and ignores registry tokens."""

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for a page; None for a repository without a project."""
        if not listing.first:
            return None
        # Harbor decodes the name twice, so a slash in it is encoded twice.
        name = quote(quote(listing.rest, safe=""), safe="")
        path = _ARTIFACTS.format(project=quote(listing.first, safe=""), name=name)
        query = f"page={page_number(cursor)}&page_size={_ENTRIES}&with_tag=true&q=tags%3D%2A"
        return ApiRequest(f"{path}?{query}", takes_password=True)

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the tags of a page of artifacts; entries without a digest are left out."""
        artifacts = entries_in(document)
        tags = [tag for artifact in artifacts for tag in _tags_of(fields_of(artifact))]
        return TagPage(tags, next_number(cursor, has_more=len(artifacts) >= _ENTRIES))


def _tags_of(artifact: dict[str, object]) -> list[ListedTag]:
    """Return the tags of *artifact*, with the time when each was given to it: Harbor sets it when a tag moves."""
    entries = [fields_of(tag) for tag in entries_in(artifact, "tags")] if artifact.get("tags") else []
    digest = artifact.get("digest")
    return [tag for entry in entries for tag in listed(entry.get("name"), digest, entry.get("push_time"))]


LISTER: Final = HarborLister()
