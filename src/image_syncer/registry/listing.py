"""The tags of a repository, page by page (distribution-spec, "Listing Tags")."""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import InvalidReference, ProtocolError, Refused, TooLarge
from image_syncer.oci import Digest
from image_syncer.oci.reference import is_tag
from image_syncer.registry.endpoint import BufferedResponse, RepositoryRequests
from image_syncer.registry.http.messages import compression_error
from image_syncer.registry.http.urls import origin_of

_PAGE = 1_000  # The most that ECR takes.
_SMALL_PAGE = 100

# Quantifiers are possessive: headers come from strangers, and nothing here may go back and try again.
_LINK = re.compile(r'<([^<>]*+)>((?:[^<>",]|"(?:[^"\\]|\\.)*+")*+)')
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+)))?+')


async def list_tags(conversation: RepositoryRequests, told: dict[str, Digest]) -> AsyncGenerator[str]:
    """Yield every tag in the registry's order, each once, one request per page; `NotFound` without the repository.

    Google's registries say in the same answer what each tag names: that is added to *told* before its tag is yielded.
    Entries that are no tags are left out (Nexus lists null, Artifactory digests). Where pages go in circles, lead to
    another host or exceed the limits, `StoreError`: a list that was cut off silently would lose images.
    """
    limits = conversation.client.limits
    seen: set[str] = set()
    visited: set[str] = set()
    answer = await _first_page(conversation)
    while True:
        document = _document(answer, conversation)
        told.update(_digests(document))
        for tag in _tags(document, conversation):
            if tag not in seen:
                seen.add(tag)
                yield tag
        if len(seen) > limits.tags:
            raise TooLarge(f"{conversation.repository}: more than {limits.tags} tags")
        visited.add(answer.url)
        following = await _following(answer, conversation)
        if following is None:
            return
        if following in visited:
            raise ProtocolError(f"{conversation.repository}: the pages of the tag list go in circles")
        if len(visited) >= limits.tag_pages:
            raise TooLarge(f"{conversation.repository}: more than {limits.tag_pages} pages of tags")
        visited.add(following)
        answer = await _page(conversation, following)


def next_link(values: Iterable[str]) -> str | None:
    """Return the target of the link with `rel="next"` in the Link headers *values* (RFC 8288), None without one."""
    for value in values:
        for link in _LINK.finditer(value):
            parameters = ((name.lower(), quoted or bare) for name, quoted, bare in _PARAMETER.findall(link[2]))
            relation = next((text for name, text in parameters if name == "rel"), "")
            if "next" in relation.lower().split():
                return link[1]
    return None


async def _first_page(conversation: RepositoryRequests) -> BufferedResponse:
    path = conversation.path("tags/list")
    try:
        return await _page(conversation, f"{path}?n={_PAGE}")
    except Refused as refusal:
        if refusal.code != "PAGINATION_NUMBER_INVALID":
            raise
        return await _page(conversation, f"{path}?n={_SMALL_PAGE}")


async def _page(conversation: RepositoryRequests, target: str) -> BufferedResponse:
    endpoint = conversation.client
    asked = conversation.context(f"tags of {conversation.repository}")
    # Nothing is asked of the content type: ECR says text/plain.
    call = conversation.build("GET", target)
    return await endpoint.request(call, asked, expect={200}, limit_bytes=endpoint.limits.tag_page_bytes)


async def _following(answer: BufferedResponse, conversation: RepositoryRequests) -> str | None:
    """Return the URL of the page after *answer*; `ProtocolError` where it is not at the same registry."""
    link = next_link(answer.headers.all("Link"))
    if link is None:
        return None
    url = await conversation.client.host.resolve(answer.url, link)
    if origin_of(url) != origin_of(answer.url):
        raise ProtocolError(f"{conversation.repository}: the next page of the tag list is at another host")
    return url


def _document(answer: BufferedResponse, conversation: RepositoryRequests) -> JsonObject:
    what = f"{conversation.repository}: the tag list"
    try:
        return parse_object(answer.content, what, values=conversation.client.limits.tag_page_values)
    except ProtocolError as error:
        raise compression_error(answer.headers, what) or error from error.__cause__


def _tags(document: JsonObject, conversation: RepositoryRequests) -> list[str]:
    tags: object = document.get("tags")
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise ProtocolError(f"{conversation.repository}: the tag list is no list")
    return [tag for tag in cast("list[object]", tags) if isinstance(tag, str) and is_tag(tag)]


def _digests(document: JsonObject) -> Iterator[tuple[str, Digest]]:
    """Yield what tags name by the member `manifest` (digest: its tags), where that is no nonsense."""
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
