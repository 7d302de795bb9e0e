"""ECR and ECR Public list a thousand images in one request, through botocore (DescribeImages, DescribeImageTags)."""

from typing import Any

from image_syncer.registry.auth.cloud_aws import PUBLIC, account_of, api_client
from image_syncer.registry.tag_lists.tag_lister import (
    Listing,
    PageReader,
    TagPage,
    entries_in,
    fields_of,
    listed,
)

_ENTRIES = 1000


def open_listing(listing: Listing) -> PageReader:
    """Return the reader of pages; ECR Public lists the repositories of the key's own account alone."""
    client = api_client(listing.registry, listing.credential, listing.server)
    if listing.registry == PUBLIC:
        return _public_reader(client, listing)
    account = account_of(listing.registry)
    what: dict[str, Any] = {"registryId": account} if account else {}
    what |= {"repositoryName": listing.path, "maxResults": _ENTRIES, "filter": {"tagStatus": "TAGGED"}}

    def read(cursor: str) -> TagPage:
        answer = client.describe_images(**what, **_next(cursor))
        return TagPage(
            [
                tag
                for image in map(fields_of, entries_in(answer, "imageDetails"))
                for name in entries_in(image, "imageTags")
                for tag in listed(name, image.get("imageDigest"), image.get("imagePushedAt"))
            ],
            answer.get("nextToken") or "",
        )

    return read


def _public_reader(client: Any, listing: Listing) -> PageReader:
    def read(cursor: str) -> TagPage:
        answer = client.describe_image_tags(repositoryName=listing.rest, maxResults=_ENTRIES, **_next(cursor))
        return TagPage(
            [
                tag
                for entry in map(fields_of, entries_in(answer, "imageTagDetails"))
                for tag in listed(
                    entry.get("imageTag"),
                    fields_of(entry.get("imageDetail")).get("imageDigest"),
                    fields_of(entry.get("imageDetail")).get("imagePushedAt"),
                )
            ],
            answer.get("nextToken") or "",
        )

    return read


def _next(cursor: str) -> dict[str, str]:
    return {"nextToken": cursor} if cursor else {}
