"""Alibaba Cloud lists a hundred tags with their digests in one request, through its libraries."""

from datetime import UTC, datetime
from typing import Final

from image_syncer.bounded_json import InvalidJson
from image_syncer.registry.auth.cloud_aliyun import Api, parts_of
from image_syncer.registry.tag_lists.tag_lister import (
    Listing,
    PageReader,
    TagPage,
    entries_in,
    fields_of,
    is_followed,
    listed,
    next_number,
    page_number,
)
from image_syncer.registry.vendors.vendor_profile import ListedTag

_ENTRIES: Final = 100
_PERSONAL, _ENTERPRISE = "2016-06-07", "2018-12-01"
_LATEST_MILLISECONDS: Final = 10**14  # The year 5138.


def open_listing(listing: Listing) -> PageReader:
    """Return the reader of pages of the personal edition, or of the enterprise instance in the registry's name."""
    parts = parts_of(listing.registry)
    if parts is None or not listing.first:
        raise InvalidJson("not the name of a registry of Alibaba Cloud, or no namespace")
    region, instance = parts
    api = Api(region, listing.credential, listing.server)
    if not instance:
        return _personal_reader(api, listing)
    identity = api.instance_id(listing.registry, instance)
    found = api.call(
        "GetRepository", _ENTERPRISE, InstanceId=identity, RepoNamespaceName=listing.first, RepoName=listing.rest
    )
    repository = found.get("RepoId")
    if not isinstance(repository, str):
        raise InvalidJson("no id of the repository")

    def read(cursor: str) -> TagPage:
        answer = api.call(
            "ListRepoTag",
            _ENTERPRISE,
            InstanceId=identity,
            RepoId=repository,
            PageNo=str(page_number(cursor)),
            PageSize=str(_ENTRIES),
        )
        page = _page(entries_in(answer, "Images"), "Tag", "Digest", "ImageUpdate")
        more = is_followed(cursor, len(page), _ENTRIES, answer.get("TotalCount"))
        return TagPage(page, next_number(cursor, has_more=more))

    return read


def _personal_reader(api: Api, listing: Listing) -> PageReader:
    path = f"/repos/{listing.first}/{listing.rest}/tags"

    def read(cursor: str) -> TagPage:
        number, size = str(page_number(cursor)), str(_ENTRIES)
        answer = api.call("GetRepoTags", _PERSONAL, path, Page=number, PageSize=size)
        page = _page(entries_in(answer, "data", "tags"), "tag", "digest", "imageUpdate")
        more = is_followed(cursor, len(page), _ENTRIES, fields_of(answer["data"]).get("total"))
        return TagPage(page, next_number(cursor, has_more=more))

    return read


def _page(entries: list[object], name: str, digest: str, updated: str) -> list[ListedTag]:
    """Return the tags of *entries*, which have these members."""
    return [
        tag
        for entry in map(fields_of, entries)
        for tag in listed(entry.get(name), _whole(entry.get(digest)), _time(entry.get(updated)))
    ]


def _whole(digest: object) -> object:
    """Return *digest* with its algorithm, which may be left out."""
    return f"sha256:{digest}" if isinstance(digest, str) and ":" not in digest else digest


def _time(milliseconds: object) -> datetime | None:
    text = str(milliseconds)
    if not text.isascii() or not text.isdecimal() or int(text) >= _LATEST_MILLISECONDS:
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)
