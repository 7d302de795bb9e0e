"""Digests of many tags in few requests, by a vendor's own listing. They are hints: a failure only costs HEADs."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from image_syncer.bounded_json import DEPTH_LIMIT, InvalidJson, read_json
from image_syncer.errors import RateLimited, Side, StoreError, Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.registry.auth.cloud_providers import failure_reason
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.manifests import Manifests
from image_syncer.registry.settings import ControlAccess, RegistryAccount
from image_syncer.registry.tag_lists.listers import library_of, lister_of
from image_syncer.registry.tag_lists.tag_lister import Lister, Listing, PageReader, TagPage, entries_in, fields_of
from image_syncer.registry.vendor_api import ApiRequest, VendorApi
from image_syncer.registry.vendor_profiles import vendor_of, vendor_of_extensions, vendor_of_service
from image_syncer.registry.vendors.vendor_profile import BulkListing, ListedTag, ListerName
from image_syncer.structs import replace

_TAGS_PER_PAGE: Final = 5  # Read one page for so many wanted tags at most: the others may not be on it.
_SECONDS: Final = 20.0
_SILENT: Final = "bulk_silent"
"""The fact that the API of a registry did not answer, and is not asked for a while: each run would wait for it."""
_UNREACHABLE_SECONDS: Final = 3600.0
_REFUSED_SECONDS: Final = 300.0  # After 429 and 5xx.
_DAY_SECONDS: Final = 86_400
_TOKEN_BYTES: Final = 64 * 1024
_OWN_URL: Final[frozenset[ListerName]] = frozenset({"quay"})  # The API is the registry's, but takes no login of it.
_TAKES_OWN_LOGIN: Final[frozenset[ListerName]] = frozenset({"docker_hub", "github"})
_EXTENSIONS: Final = "extensions"
"""The fact which extensions a registry announces (distribution-spec, "extensions"); few announce any."""
_WORTH_DISCOVERY: Final = 200  # So many wanted tags are worth a request that may tell nothing.
_MOST_EXTENSIONS, _LONGEST_NAME = 20, 60
_TAKES_KEYS: Final[frozenset[ListerName]] = frozenset({"aliyun", "aws", "huawei", "tencent", "volcengine"})


class BulkListings:
    """The vendors' listings of a run. *client* and *transport* reach registries, *count* is called for each request."""

    def __init__(
        self,
        keychain: Keychain,
        client: Callable[[Repository], Awaitable[RegistryClient]],
        transport: Callable[[str], Transport],
        count: Callable[[Side], None],
    ) -> None:
        self._keychain = keychain
        self._client = client
        self._transport = transport
        self._count = count
        self._urls: dict[RegistryClient, str] = {}

    async def read(self, repository: Repository, wanted: int) -> list[ListedTag]:
        """Return tags with their digests if that costs less than a HEAD for each of *wanted* tags.

        The list may be incomplete. It is empty if the vendor has no such listing or refuses it, if a page is malformed,
        or if a HEAD of the newest tag finds another digest. Tags whose daily HEAD is due are left out.
        """
        client = await self._client(repository)
        bulk = await self._bulk(client, repository, wanted)
        if bulk is None:
            return []
        if await client.facts.get(client.host.name, _SILENT) is not None:
            return []
        try:
            found = await self._read_pages(client, repository, bulk, wanted // _TAGS_PER_PAGE)
        except (Unavailable, RateLimited) as error:
            seconds = _UNREACHABLE_SECONDS if error.status is None else _REFUSED_SECONDS
            client.facts.remember(client.host.name, _SILENT, "yes", seconds=seconds)
            return []
        except (StoreError, InvalidJson):
            return []
        return await _trusted(RepositoryRequests(client, repository, "source"), found)

    async def check(
        self, repository: Repository, digests: Mapping[str, Digest], dates: Mapping[str, datetime]
    ) -> list[ListedTag]:
        """Return what the tag list itself says, *digests* and *dates*, as far as `read` would return it."""
        found = [ListedTag(tag, digest, dates.get(tag)) for tag, digest in digests.items()]
        return await _trusted(RepositoryRequests(await self._client(repository), repository, "source"), found)

    async def _read_pages(
        self, client: RegistryClient, repository: Repository, bulk: BulkListing, most_pages: int
    ) -> list[ListedTag]:
        account = self._keychain.configured_for(repository) or RegistryAccount(repository.registry)
        api = VendorApi(
            client, self._transport, self._count, is_insecure=account.insecure or account.plain_http, seconds=_SECONDS
        )
        listing = await self._listing(client, repository, bulk, api, account)
        if listing is None:
            return []
        pages = _pages(client, api, bulk, listing)
        if pages is None:
            return []
        limits = client.limits
        found: dict[str, ListedTag] = {}
        seen, cursor = {""}, ""
        for _ in range(min(most_pages, limits.tag_pages)):
            page = await pages.read(cursor)
            if page is None:
                break
            known = len(found)
            found |= {one.tag: one for one in page.tags}
            is_repeated = bool(page.tags) and len(found) == known
            if is_repeated or page.cursor in seen or len(found) > limits.tags:  # The last page, or one that leads back.
                break
            cursor = page.cursor
            seen.add(cursor)
        return list(found.values())

    async def _listing(
        self,
        client: RegistryClient,
        repository: Repository,
        bulk: BulkListing,
        api: VendorApi,
        account: RegistryAccount,
    ) -> Listing | None:
        """Return what is listed, with the access that *account* has for that; None without access."""
        control = account.control or ControlAccess()
        url = (control.url or bulk.server).rstrip("/")
        if not url and bulk.name in _OWN_URL:
            url = self._urls[client] = self._urls.get(client) or await api.own_url()
        name = urlsplit(f"//{repository.registry}").hostname or ""  # The names of clouds' registries have no port.
        listing = Listing(name, repository.path, url, control.credential)
        if account.control is not None and (control.credential is not None or control.url):
            return listing
        if bulk.name in _TAKES_KEYS:
            # Without credentials of the cloud, a library would look for those of the machine, and wait for that.
            access = await self._keychain.account_for(repository)
            key = account.credential if account.cloud is not None else None
            return replace(listing, credential=key) if access.cloud is not None else None
        if bulk.name in _TAKES_OWN_LOGIN:
            access = await self._keychain.account_for(repository)
            own = access.credential if access.source is None else await access.source.current()
            return replace(listing, credential=own)
        return listing

    async def _bulk(self, client: RegistryClient, repository: Repository, wanted: int) -> BulkListing | None:
        """Return the vendor's listing; a registry of no known vendor is asked for its extensions once a day."""
        vendor = vendor_of(client.host.name) or vendor_of_service(client.host.auth.service) or client.profile.vendor
        if vendor is not None:
            return vendor.bulk
        if wanted < _WORTH_DISCOVERY:
            return None
        registry = client.host.name
        fact = await client.facts.get(registry, _EXTENSIONS)
        if fact is None:
            value = await self._extensions(client, repository)
            client.facts.remember(registry, _EXTENSIONS, value, seconds=_DAY_SECONDS)
        else:
            value = fact.value
        found = vendor_of_extensions(value.split())
        return None if found is None else found.bulk

    async def _extensions(self, client: RegistryClient, repository: Repository) -> str:
        """Return the names of the extensions that the registry announces, or nothing."""
        scope = f"repository:{repository.path}:pull"
        request = ApiRequest("/v2/_oci/ext/discover", scope=scope)
        try:
            content = await VendorApi(client, self._transport, self._count).read(request, _TOKEN_BYTES)
            found = entries_in(read_json(content, depth=DEPTH_LIMIT, values=_TOKEN_BYTES, strict=True), "extensions")
        except (StoreError, InvalidJson):
            return ""
        names = [fields_of(entry).get("name") for entry in found[:_MOST_EXTENSIONS]]
        return " ".join(name for name in names if isinstance(name, str) and len(name) < _LONGEST_NAME)


def _pages(
    client: RegistryClient, api: VendorApi, bulk: BulkListing, listing: Listing
) -> "_Pages | _LibraryPages | None":
    """Return the reader of *listing*; None if the extra of its library is not installed."""
    lister = lister_of(bulk.name)
    if lister is not None:
        return _Pages(client, api, lister, listing)
    try:
        return _LibraryPages(library_of(bulk.name), listing)
    except ImportError:
        return None


class _Pages:
    """Reads the pages of *lister* by requests."""

    def __init__(self, client: RegistryClient, api: VendorApi, lister: Lister, listing: Listing) -> None:
        self._limits = client.limits
        self._api = api
        self._lister = lister
        self._listing = listing
        self._is_open = False

    async def read(self, cursor: str) -> TagPage | None:
        """Return the page at *cursor*; None if the listing cannot be had."""
        if not self._is_open:
            login = self._lister.login(self._listing)
            if login is not None:
                token = self._lister.read_token(await self._document(login, _TOKEN_BYTES))
                self._listing = replace(self._listing, token=token)
            self._is_open = True
        request = self._lister.request(self._listing, cursor)
        if request is None:
            return None
        return self._lister.read_page(await self._document(request, self._limits.tag_page_bytes), cursor)

    async def _document(self, request: ApiRequest, limit_bytes: int) -> object:
        content = await self._api.read(request, limit_bytes)
        return read_json(content, depth=DEPTH_LIMIT, values=self._limits.tag_page_values, strict=True)


class _LibraryPages:
    """Reads the pages that *open_listing* gives through a vendor's library, in a thread."""

    def __init__(self, open_listing: Callable[[Listing], PageReader], listing: Listing) -> None:
        self._open = open_listing
        self._listing = listing
        self._reader: PageReader | None = None

    async def read(self, cursor: str) -> TagPage:
        """Return the page at *cursor*; the texts of a library are not shown, since they may repeat secrets."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.to_thread(self._read, cursor)
        except (StoreError, InvalidJson):
            raise
        except TimeoutError:
            raise Unavailable(f"{self._listing.registry}: its API gives no answer within {_SECONDS:g} s") from None
        except Exception as error:  # noqa: BLE001 - the libraries have no common base of their errors
            raise StoreError(f"{self._listing.registry}: its API fails: {failure_reason(error)}") from None

    def _read(self, cursor: str) -> TagPage:
        self._reader = self._reader or self._open(self._listing)
        return self._reader(cursor)


async def _trusted(requests: RepositoryRequests, found: list[ListedTag]) -> list[ListedTag]:
    """Return *found* without the tags whose daily HEAD is due; empty if a HEAD of the newest tag refutes the list."""
    if not found or not await is_confirmed(requests, found):
        return []
    is_due = await due_tags(requests)
    return [one for one in found if not is_due(one.tag)]


async def is_confirmed(requests: RepositoryRequests, found: list[ListedTag]) -> bool:
    """Whether a HEAD of the newest tag finds the listed digest; the newest one is the likeliest to have changed.

    Of several it is the one whose daily HEAD is the next: many vendors list no dates, and one tag tells little of them.
    """
    path, now = requests.repository.path, requests.client.retrying.clock.now().timestamp()

    def order(one: ListedTag) -> tuple[float, float]:
        return (one.since.timestamp() if one.since else 0.0, -_seconds_until(path, one.tag, now))

    newest = max(found, key=order)
    try:
        return (await Manifests(requests).head(newest.tag)).digest == newest.digest
    except StoreError:
        return False


async def due_tags(requests: RepositoryRequests) -> Callable[[str], bool]:
    """Return whether a tag gets its daily HEAD now, and note that such tags got one.

    Each tag has a second of the day, and is due if that lies between the last list and now. A fact of the registry
    keeps the time of the last list, so without a state each process begins another day.
    """
    facts, registry = requests.client.facts, requests.client.host.name
    path = requests.repository.path
    key = f"bulk_{hashlib.sha256(path.encode()).hexdigest()[:32]}"
    now = requests.client.retrying.clock.now()
    fact = await facts.get(registry, key)
    facts.remember(registry, key, now.isoformat(timespec="seconds"), seconds=2 * _DAY_SECONDS)
    last = now if fact is None else _time(fact.value, now)
    passed = (now - last).total_seconds()
    begin = last.timestamp()

    def is_due(tag: str) -> bool:
        return _seconds_until(path, tag, begin) < passed

    return is_due


def _seconds_until(path: str, tag: str, now: float) -> float:
    """Return the seconds from *now*, since the epoch, until the time of the day that the tag has of its own."""
    second = int.from_bytes(hashlib.sha256(f"{path}:{tag}".encode()).digest()[:4], "big") % _DAY_SECONDS
    return (second - now) % _DAY_SECONDS


def _time(text: str, now: datetime) -> datetime:
    """Return the time in *text*, a day before *now* if it is none, or older; *now* if it lies after that."""
    earliest = now - timedelta(seconds=_DAY_SECONDS)
    try:
        return min(max(datetime.fromisoformat(text), earliest), now)
    except (TypeError, ValueError):
        return earliest
