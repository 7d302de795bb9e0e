"""The tags of a repository, page by page (distribution-spec, "Listing Tags")."""

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from typing import Final, cast

from image_syncer.bounded_json import JsonObject
from image_syncer.errors import InvalidReference, NotFound, ProtocolError, StoreError, TooLarge
from image_syncer.oci import Digest
from image_syncer.oci.reference import is_tag
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.paging import ListName, Pager
from image_syncer.structs import replace

_MOST_TIME_DIGITS: Final = 14  # Milliseconds until the year 5138.


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
        for tag, digest, uploaded_at in _listed_manifests(document):
            digests[tag] = digest
            if uploaded_at is None:
                dates.pop(tag, None)
            else:
                dates[tag] = uploaded_at
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


def _listed_manifests(document: JsonObject) -> Iterator[tuple[str, Digest, datetime | None]]:
    """Yield each tag in the member `manifest` of Google's registries, with its digest and the time of the upload.

    Malformed entries are left out; a malformed time is None.
    """
    entries: object = document.get("manifest")
    if not isinstance(entries, dict):
        return
    for text, entry in cast("dict[str, object]", entries).items():
        fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        tags = fields.get("tag")
        if not isinstance(tags, list):
            continue
        try:
            digest = Digest.parse(text)
        except InvalidReference:
            continue
        for tag in cast("list[object]", tags):
            if isinstance(tag, str):
                yield tag, digest, _time_of(fields.get("timeUploadedMs"))


def _time_of(text: object) -> datetime | None:
    """Return when Google's registry received the manifest; the time of its creation is what its builder claims."""
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > _MOST_TIME_DIGITS:
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)


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
