"""The repositories of a registry, page by page: `_catalog` of distribution, which most registries have."""

from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from typing import Final, cast

from image_syncer.errors import (
    CatalogueClosed,
    Denied,
    InvalidReference,
    NotFound,
    ProtocolError,
    Refused,
    StoreError,
    TooLarge,
    Unauthorized,
)
from image_syncer.oci import Repository
from image_syncer.registry.auth.authenticator import CATALOGUE_SCOPE
from image_syncer.registry.endpoint import BufferedResponse, RegistryClient
from image_syncer.registry.host import Call
from image_syncer.registry.paging import ListName, Pager

_PATH: Final = "/v2/_catalog"
_CLOSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


class RegistryCatalogue:
    """The repositories that a registry lists to the logins of *client* (`roles.Catalogue`)."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._registry = client.host.name

    async def repositories(self) -> AsyncGenerator[Sequence[Repository]]:
        """Yield the repositories, a page at a time; `CatalogueClosed` if the registry does not list them to us.

        Entries that are no names of repositories are skipped. Raises `StoreError` as for tags (`Pager`), since rules
        would lose images if the list were cut.
        """
        limits = self._client.limits
        name = ListName(self._registry, "list of repositories", "repositories")
        pager = Pager(self._client, self._call, _PATH, name, limits.catalogue_pages)
        page: BufferedResponse | None = await self._first(pager)
        listed, last = 0, frozenset[str]()
        while page is not None:
            entries = self._entries(pager, page)
            listed += len(entries)
            if listed > limits.repositories:
                raise TooLarge(f"{self._registry}: more than {limits.repositories} repositories")
            yield self._named(entries)
            new, last = len(set(entries) - last), frozenset(entries)
            page = await pager.next(page, entries=len(entries), new=new)

    async def _first(self, pager: Pager) -> BufferedResponse:
        try:
            return await pager.first()
        except (NotFound, Unauthorized, Denied, Refused) as error:
            if type(error) is Refused and error.status not in _CLOSED:
                raise
            raise _closed(self._registry, error) from error

    def _call(self, target: str) -> Call:
        return Call("GET", target, "source", (CATALOGUE_SCOPE,))

    def _entries(self, pager: Pager, page: BufferedResponse) -> list[str]:
        found: object = pager.document(page).get("repositories")
        if found is None:
            return []
        if not isinstance(found, list):
            raise ProtocolError(f"{pager.name} is no list")
        return [entry for entry in cast("list[object]", found) if isinstance(entry, str)]

    def _named(self, entries: Sequence[str]) -> list[Repository]:
        named: list[Repository] = []
        for entry in entries:
            try:
                named.append(Repository.of(self._registry, entry))
            except InvalidReference:
                continue
        return named


def _closed(registry: str, error: StoreError) -> CatalogueClosed:
    return CatalogueClosed(
        f"{registry} does not list its repositories to this login: {error.message}",
        status=error.status,
        code=error.code,
        remedy="give it a login that may list them, name the repositories, or copy on events",
    )
