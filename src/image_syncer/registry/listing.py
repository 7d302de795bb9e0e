"""The tags of a repository, page by page (distribution-spec, "Listing Tags")."""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import InvalidReference, NotFound, ProtocolError, Refused, StoreError, TooLarge
from image_syncer.oci import Digest
from image_syncer.oci.reference import is_tag
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.messages import compression_error
from image_syncer.registry.http.urls import origin_of
from image_syncer.structs import replace

_PAGE = 1_000  # The most that ECR takes.
_SMALL_PAGE = 100

# Possessive quantifiers: headers are untrusted, so the patterns must not backtrack.
_LINK = re.compile(r'<([^<>]*+)>((?:[^<>",]|"(?:[^"\\]|\\.)*+")*+)')
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+)))?+')


async def list_tags(
    requests: RepositoryRequests, digests: dict[str, Digest], *, most_pages: int | None = None
) -> AsyncGenerator[str]:
    """Yield every tag in the registry's order, each once, one request per page; `NotFound` without the repository.

    Google's registries include each tag's digest: it is added to *digests* before the tag is yielded. Entries that are
    no tags are skipped (Nexus lists null, Artifactory digests). Raises `StoreError` if pages form a loop, lead to
    another host or exceed the limits: a silently truncated list would lose images. A last page that links to itself
    ends the list with a warning. Above *most_pages* (None: the limit for every list) it raises `TooLarge`.
    """
    limits = requests.client.limits
    page_limit = limits.tag_pages if most_pages is None else most_pages
    seen: set[str] = set()
    visited: set[str] = set()
    page = await _first_page(requests)
    while True:
        document = _document(page, requests)
        digests.update(_digests(document))
        tags, known = _tags(document, requests), len(seen)
        for tag in tags:
            if tag not in seen:
                seen.add(tag)
                yield tag
        if len(seen) > limits.tags:
            raise TooLarge(f"{requests.repository}: more than {limits.tags} tags")
        visited.add(page.url)
        next_url = await _next_url(page, requests)
        if next_url is None:
            return
        if next_url == page.url and _is_last(tags, new=len(seen) - known):
            requests.client.observer.on_warning(f"{requests.repository}: the last page of the tag list links to itself")
            return
        if next_url in visited:
            raise ProtocolError(f"{requests.repository}: the pages of the tag list form a loop")
        if len(visited) >= page_limit:
            raise TooLarge(f"{requests.repository}: more than {page_limit} pages of tags")
        visited.add(next_url)
        page = await _page(requests, next_url)


def next_link(values: Iterable[str]) -> str | None:
    """Return the target of the link with `rel="next"` in the Link headers *values* (RFC 8288), None without one."""
    for value in values:
        for link in _LINK.finditer(value):
            parameters = ((name.lower(), quoted or bare) for name, quoted, bare in _PARAMETER.findall(link[2]))
            relation = next((text for name, text in parameters if name == "rel"), "")
            if "next" in relation.lower().split():
                return link[1]
    return None


async def _first_page(requests: RepositoryRequests) -> BufferedResponse:
    path = requests.path("tags/list")
    try:
        return await _page(requests, f"{path}?n={_PAGE}")
    except Refused as refusal:
        if refusal.code != "PAGINATION_NUMBER_INVALID":
            raise
        return await _page(requests, f"{path}?n={_SMALL_PAGE}")


async def _page(requests: RepositoryRequests, target: str) -> BufferedResponse:
    client = requests.client
    context = requests.context(f"tags of {requests.repository}")
    # The content type is not checked: ECR sends text/plain.
    call = requests.build("GET", target)
    return await client.request(call, context, expect={200}, limit_bytes=client.limits.tag_page_bytes)


async def _next_url(page: BufferedResponse, requests: RepositoryRequests) -> str | None:
    """Return the URL of the page after *page*, None after the last; `ProtocolError` if it is at another host."""
    link = next_link(page.headers.all("Link"))
    if link is None:
        return None
    own = _own_page(link, requests)
    if own is not None:
        return await requests.client.host.resolve(page.url, own)
    url = await requests.client.host.resolve(page.url, link)
    if origin_of(url) != origin_of(page.url):
        raise ProtocolError(f"{requests.repository}: the next page of the tag list is at another host")
    return url


def _own_page(link: str, requests: RepositoryRequests) -> str | None:
    """Return *link* as a path at this registry if it names this tag list, else None.

    A registry behind a proxy may link to its internal host or below its internal path: the tag list is the same.
    """
    path, separator, query = link.partition("?")
    own = requests.path("tags/list")
    scheme = path.partition("://")[0].lower() if "://" in path else ""
    is_list = path.endswith(own) and (not scheme or scheme in {"http", "https"}) and not path.startswith("//")
    return f"{own}{separator}{query}" if is_list else None


def _is_last(tags: Sequence[str], *, new: int) -> bool:
    """Whether a page with *tags* that links to itself is the last one.

    A full page, or one that only repeats tags, comes from a registry that ignores where the page shall begin.
    """
    return len(tags) < _PAGE and (new > 0 or not tags)


def _document(page: BufferedResponse, requests: RepositoryRequests) -> JsonObject:
    what = f"{requests.repository}: the tag list"
    try:
        return parse_object(page.content, what, values=requests.client.limits.tag_page_values)
    except ProtocolError as error:
        raise compression_error(page.headers, what) or error from error.__cause__


def _tags(document: JsonObject, requests: RepositoryRequests) -> list[str]:
    tags: object = document.get("tags")
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise ProtocolError(f"{requests.repository}: the tag list is no list")
    return [tag for tag in cast("list[object]", tags) if isinstance(tag, str) and is_tag(tag)]


def _digests(document: JsonObject) -> Iterator[tuple[str, Digest]]:
    """Yield (tag, digest) pairs from the member `manifest` of Google's registries, skipping malformed entries."""
    entries: object = document.get("manifest")
    if not isinstance(entries, dict):
        return
    for text, entry in cast("dict[str, object]", entries).items():
        tags: object = cast("dict[str, Any]", entry).get("tag") if isinstance(entry, dict) else None
        if not isinstance(tags, list):
            continue
        try:
            digest = Digest.parse(text)
        except InvalidReference:
            continue
        for tag in cast("list[object]", tags):
            if isinstance(tag, str):
                yield tag, digest


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
