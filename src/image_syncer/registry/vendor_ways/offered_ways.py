"""Which ways a target's vendor offers, by what its section of the configuration says."""

from collections.abc import Awaitable, Callable, Sequence

from image_syncer.bounded_json import JsonObject
from image_syncer.errors import Side
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.preparing.creators import ApiServer
from image_syncer.registry.settings import ControlAccess, Credential, RegistryAccount
from image_syncer.registry.vendor_ways.azure_import import AzureImport, AzureTokens, is_azure, resource_id
from image_syncer.registry.vendor_ways.cache_hydration import CacheHydration
from image_syncer.roles import VendorWay


class OfferedWays:
    """The ways of vendors in a run. *client* and *transport* reach registries, *count* is called for each request."""

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
        self._tokens = AzureTokens()

    def between(self, source: Repository, target: Repository, account: RegistryAccount) -> Sequence[VendorWay]:
        """Return the ways from *source* to *target*, which *account* configures."""
        found: list[VendorWay] = []
        if account.pulls_from and _origin(target, account) == str(source):
            wait = None if account.control is None else account.control.wait_seconds
            found.append(CacheHydration(target, self._client, wait))
        if account.control is not None and is_azure(account.control.url):
            found.append(self._import(source, target, account, account.control))
        return found

    def _import(
        self, source: Repository, target: Repository, account: RegistryAccount, control: ControlAccess
    ) -> AzureImport:
        async def server() -> ApiServer:
            client = await self._client(target)
            return ApiServer(client, self._transport, self._count, is_insecure=account.insecure)

        async def source_fields() -> JsonObject:
            return await self._source_fields(source, control)

        return AzureImport(source, target, control, server, source_fields, self._tokens)

    async def _source_fields(self, source: Repository, control: ControlAccess) -> JsonObject:
        """Return how Azure reaches the registry of *source*.

        If that is Azure's, too, the rights of the login in *control* count there, and no other login is needed.
        """
        account = self._keychain.configured_for(source)
        if account is not None and account.control is not None:
            resource = resource_id(account.control.url, control.url)
            if resource is not None:
                return {"resourceId": resource}
        fields: JsonObject = {"registryUri": source.registry}
        login = await self._shared_login(source)
        if login is not None:
            fields["credentials"] = {"username": login.username, "password": login.password}
        return fields

    async def _shared_login(self, source: Repository) -> Credential | None:
        """Return user and password for *source* if its section says that vendors may have them."""
        account = self._keychain.configured_for(source)
        if account is None or not account.share_credentials:
            return None
        found = await self._keychain.account_for(source)
        login = found.credential if found.source is None else await found.source.current()
        return login if login is not None and login.username and login.password else None


def _origin(target: Repository, account: RegistryAccount) -> str:
    """Return the repository that *target* caches."""
    return f"{account.pulls_from}{str(target).removeprefix(account.prefix.rstrip('/'))}"
