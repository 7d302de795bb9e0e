"""The tags of a repository, page by page (distribution-spec, "Listing Tags")."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import cast

from image_syncer.bounded_json import JsonObject
from image_syncer.errors import NotFound, ProtocolError, StoreError, TooLarge
from image_syncer.oci import Digest
from image_syncer.oci.reference import is_tag
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.paging import ListName, Pager
from image_syncer.registry.vendor_profiles import digests_in_tag_list
from image_syncer.structs import replace


async def list_tags(
    requests: RepositoryRequests,
    digests: dict[str, Digest],
    dates: dict[str, datetime],
    *,
    most_pages: int | None = None,
) -> AsyncGenerator[str]:
    """Yield every tag in the registry's order, each once, one request per page; `NotFound` without the repository.

    Google's registries include each tag's digest and when it was uploaded: both are added to *digests* and *dates*
    before the tag is yielded. Entries that are
    no tags are skipped (Nexus lists null, Artifactory digests). Raises `StoreError` if pages form a loop, lead to
    another host or exceed the limits: a silently truncated list would lose images. A last page that links to itself
    ends the list with a warning. Above *most_pages* (None: the limit for every list) it raises `TooLarge`.
    """
    limits = requests.client.limits
    page_limit = limits.tag_pages if most_pages is None else most_pages
    name = ListName(str(requests.repository), "tag list", "tags")
    pager = Pager(
        requests.client, lambda target: requests.build("GET", target), requests.path("tags/list"), name, page_limit
    )
    seen: set[str] = set()
    page = await pager.first()
    while page is not None:
        document = pager.document(page)
        for listed in digests_in_tag_list(document):
            digests[listed.tag] = listed.digest
            if listed.since is None:
                dates.pop(listed.tag, None)
            else:
                dates[listed.tag] = listed.since
        tags, known = _tags(document, requests), len(seen)
        for tag in tags:
            if tag not in seen:
                seen.add(tag)
                yield tag
        if len(seen) > limits.tags:
            raise TooLarge(f"{requests.repository}: more than {limits.tags} tags")
        page = await pager.next(page, entries=len(tags), new=len(seen) - known)


def _tags(document: JsonObject, requests: RepositoryRequests) -> list[str]:
    tags: object = document.get("tags")
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise ProtocolError(f"{requests.repository}: the tag list is no list")
    return [tag for tag in cast("list[object]", tags) if isinstance(tag, str) and is_tag(tag)]


async def is_unknown(requests: RepositoryRequests) -> bool:
    """Whether the registry says that the repository does not exist, by one request; False after any other response.

    distribution says so of a repository that holds blobs and no manifest, too.
    """
    call = replace(requests.build("GET", requests.path("tags/list?n=1")), is_optional=True)
    try:
        await requests.client.request(call, requests.context(requests.repository), expect={200}, retry=False)
    except NotFound as error:
        return error.code == "NAME_UNKNOWN"
    except StoreError:
        return False
    return False
