"""Tencent Container Registry lists a hundred images in one request, through Tencent Cloud's library."""

from importlib import import_module
from typing import Any, Final

from image_syncer.registry.auth.cloud_tencent import instance_of
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
_models: Final[Any] = import_module("tencentcloud.tcr.v20190924.models")
_ENTRIES: Final = 100


def open_listing(listing: Listing) -> PageReader:
    """Return the reader of pages of the instance in the registry's name."""
    client, instance = instance_of(listing.registry, listing.credential, listing.server)

    def read(cursor: str) -> TagPage:
        request = _models.DescribeImagesRequest()
        request.RegistryId, request.NamespaceName, request.RepositoryName = instance, listing.first, listing.rest
        request.Limit, request.Offset = _ENTRIES, page_number(cursor)  # The offset counts pages, from 1.
        answer: Any = client.DescribeImages(request)
        images: Any = answer.ImageInfoList or ()
        tags = [tag for image in images for tag in listed(image.ImageVersion, image.Digest, image.UpdateTime)]
        return TagPage(
            tags, next_number(cursor, has_more=is_followed(cursor, len(images), _ENTRIES, answer.TotalCount))
        )

    return read
