"""The pages of a list at a registry: how many entries to ask for, where the next page is, and when the list ends."""

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import ProtocolError, Refused, TooLarge
from image_syncer.registry.endpoint import BufferedResponse, RegistryClient
from image_syncer.registry.error_mapping import ErrorContext
from image_syncer.registry.host import Call
from image_syncer.registry.http.messages import compression_error
from image_syncer.registry.http.urls import origin_of
from image_syncer.structs import Struct, field

PAGE: Final = 1_000
"""The most entries that a page is asked for, since ECR takes no more."""
_SMALL_PAGE: Final = 100

# Possessive quantifiers: headers are untrusted, so the patterns must not backtrack.
_LINK = re.compile(r'<([^<>]*+)>((?:[^<>",]|"(?:[^"\\]|\\.)*+")*+)')
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+)))?+')


class ListName(Struct):
    """How messages name a list: the *subject* (`q.io/app`), the *list* (`tag list`) and its *entries* (`tags`)."""

    subject: str
    list: str
    entries: str

    def __str__(self) -> str:
        return f"{self.subject}: the {self.list}"


class Pager(Struct, frozen=False):
    """Reads the list at *path* page by page: call `first`, then `next` until it returns None.

    *build* makes a request of a path or URL. Above *page_limit* pages the list is `TooLarge`. It is a `ProtocolError`
    if the pages form a loop or lead to another host: a silently truncated list would lose images.
    """

    client: RegistryClient
    build: Callable[[str], Call]
    path: str
    name: ListName
    page_limit: int
    _visited: set[str] = field(default_factory=set[str])

    async def first(self) -> BufferedResponse:
        """Return the first page, with as many entries as the registry takes."""
        try:
            return await self._page(f"{self.path}?n={PAGE}")
        except Refused as refusal:
            if refusal.code != "PAGINATION_NUMBER_INVALID":
                raise
            return await self._page(f"{self.path}?n={_SMALL_PAGE}")

    async def next(self, page: BufferedResponse, *, entries: int, new: int) -> BufferedResponse | None:
        """Return the page after *page*, None after the last one.

        *page* has that many *entries*; *new* of them were on no earlier page. A last page that links to itself ends the
        list with a warning.
        """
        self._visited.add(page.url)
        next_url = await self._next_url(page)
        if next_url is None:
            return None
        if next_url == page.url and _is_last(entries, new):
            self.client.observer.on_warning(
                f"{self.name.subject}: the last page of the {self.name.list} links to itself"
            )
            return None
        if next_url in self._visited:
            raise ProtocolError(f"{self.name.subject}: the pages of the {self.name.list} form a loop")
        if len(self._visited) >= self.page_limit:
            raise TooLarge(f"{self.name.subject}: more than {self.page_limit} pages of {self.name.entries}")
        self._visited.add(next_url)
        return await self._page(next_url)

    def document(self, page: BufferedResponse) -> JsonObject:
        """Return the JSON object in *page*; `ProtocolError` if it is none."""
        try:
            return parse_object(page.content, str(self.name), values=self.client.limits.tag_page_values)
        except ProtocolError as error:
            raise compression_error(page.headers, str(self.name)) or error from error.__cause__

    async def _page(self, target: str) -> BufferedResponse:
        context = ErrorContext(f"{self.name.entries} of {self.name.subject}", self.client.host.name)
        # The content type is not checked: ECR sends text/plain.
        limit = self.client.limits.tag_page_bytes
        return await self.client.request(self.build(target), context, expect={HTTPStatus.OK}, limit_bytes=limit)

    async def _next_url(self, page: BufferedResponse) -> str | None:
        """Return the URL of the page after *page*, None after the last; `ProtocolError` if it is at another host."""
        link = next_link(page.headers.all("Link"))
        if link is None:
            return None
        own = self._own_page(link)
        if own is not None:
            return await self.client.host.resolve(page.url, own)
        url = await self.client.host.resolve(page.url, link)
        if origin_of(url) != origin_of(page.url):
            raise ProtocolError(f"{self.name.subject}: the next page of the {self.name.list} is at another host")
        return url

    def _own_page(self, link: str) -> str | None:
        """Return *link* as a path at this registry if it names this list, else None.

        A registry behind a proxy may link to its internal host or below its internal path: the list is the same.
        """
        path, separator, query = link.partition("?")
        scheme = path.partition("://")[0].lower() if "://" in path else ""
        is_list = path.endswith(self.path) and (not scheme or scheme in {"http", "https"}) and not path.startswith("//")
        return f"{self.path}{separator}{query}" if is_list else None


def next_link(values: Iterable[str]) -> str | None:
    """Return the target of the link with `rel="next"` in the Link headers *values* (RFC 8288), None without one."""
    for value in values:
        for link in _LINK.finditer(value):
            parameters = ((name.lower(), quoted or bare) for name, quoted, bare in _PARAMETER.findall(link[2]))
            relation = next((text for name, text in parameters if name == "rel"), "")
            if "next" in relation.lower().split():
                return link[1]
    return None


def _is_last(entries: int, new: int) -> bool:
    """Whether a page with *entries*, *new* ones among them, is the last one although it links to itself.

    A full page, or one that only repeats entries, comes from a registry that ignores where the page shall begin.
    """
    return entries < PAGE and (new > 0 or not entries)
