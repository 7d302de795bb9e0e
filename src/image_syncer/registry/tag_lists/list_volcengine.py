"""Volcengine Container Registry lists a hundred tags in one request, through Volcengine's library."""

from importlib import import_module
from typing import Any, Final

from image_syncer.registry.auth.cloud_volcengine import api_of
from image_syncer.registry.tag_lists.tag_lister import (
    Listing,
    PageReader,
    TagPage,
    is_followed,
    listed,
    next_number,
    page_number,
)

# Any: the library has no types.
_cr: Final[Any] = import_module("volcenginesdkcr")
_ENTRIES: Final = 100


def open_listing(listing: Listing) -> PageReader:
    """Return the reader of pages of the instance in the registry's name."""
    api, instance = api_of(listing.registry, listing.credential, listing.server)

    def read(cursor: str) -> TagPage:
        request = _cr.ListTagsRequest(
            registry=instance,
            namespace=listing.first,
            repository=listing.rest,
            page_number=page_number(cursor),
            page_size=_ENTRIES,
        )
        answer: Any = api.list_tags(request)
        items: Any = answer.items or ()
        tags = [tag for item in items for tag in listed(item.name, item.digest, item.push_time)]
        return TagPage(
            tags, next_number(cursor, has_more=is_followed(cursor, len(items), _ENTRIES, answer.total_count))
        )

    return read
