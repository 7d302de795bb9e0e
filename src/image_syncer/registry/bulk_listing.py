"""Digests of many tags in few requests, by a vendor's own listing. They are hints: a failure only costs HEADs."""

from http import HTTPStatus
from typing import Final

from image_syncer.bounded_json import DEPTH_LIMIT, InvalidJson, read_json
from image_syncer.errors import StoreError
from image_syncer.registry.auth.authenticator import LOGIN_SCOPE
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.manifests import Manifests
from image_syncer.registry.vendor_profiles import vendor_of_service
from image_syncer.registry.vendors.vendor_profile import ListedTag, Lister
from image_syncer.structs import replace

LEAST_TAGS: Final = 10
"""Fewer tags are resolved by a HEAD each."""
_TAGS_PER_PAGE: Final = 5  # Read one page for so many wanted tags at most: the others may not be on it.


async def list_in_bulk(requests: RepositoryRequests, wanted: int) -> list[ListedTag]:
    """Return tags with their digests if that costs less than a HEAD for each of *wanted* tags, `LEAST_TAGS` or more.

    The list may be incomplete. It is empty if the vendor has no such listing or refuses it, if a page is malformed, or
    if a HEAD of the newest tag finds another digest.
    """
    vendor = vendor_of_service(requests.client.host.auth.service)
    if vendor is None or vendor.lister is None:
        return []
    try:
        found = await _read_pages(requests, vendor.lister, wanted // _TAGS_PER_PAGE)
        return found if found and await _is_confirmed(requests, found) else []
    except (StoreError, InvalidJson):
        return []


async def _read_pages(requests: RepositoryRequests, lister: Lister, most_pages: int) -> list[ListedTag]:
    found: list[ListedTag] = []
    client = requests.client
    for number in range(1, min(most_pages, client.limits.tag_pages) + 1):
        path = lister.page_path(requests.repository, number)
        if path is None:
            break
        call = replace(requests.build("GET", path), is_optional=True)
        if lister.takes_password:
            call = replace(call, scopes=(LOGIN_SCOPE, *call.scopes))
        context = requests.context(requests.repository)
        response = await client.request(
            call, context, expect={HTTPStatus.OK}, retry=False, limit_bytes=client.limits.tag_page_bytes
        )
        document = read_json(response.content, depth=DEPTH_LIMIT, values=client.limits.tag_page_values, strict=True)
        entries, tags = lister.read_page(document)
        found += tags
        if entries < lister.page_entries:
            break
    return found


async def _is_confirmed(requests: RepositoryRequests, found: list[ListedTag]) -> bool:
    """Whether a HEAD of the newest tag finds the listed digest; the newest one is the likeliest to have changed."""
    newest = max(found, key=lambda listed: listed.since.timestamp() if listed.since else 0.0)
    return (await Manifests(requests).head(newest.tag)).digest == newest.digest
