"""Which ways a target's vendor offers, by what its section of the configuration says."""

from collections.abc import Awaitable, Callable, Sequence

from image_syncer.errors import Side
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.preparing.creators import ApiServer
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.registry.vendor_ways.azure_import import AzureImport, AzureTokens, is_azure
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
        control = account.control
        if control is None or not is_azure(control.url):
            return ()

        async def server() -> ApiServer:
            client = await self._client(target)
            return ApiServer(client, self._transport, self._count, is_insecure=account.insecure)

        async def source_login() -> Credential | None:
            return await self._shared_login(source)

        return (AzureImport(source, target, control, server, source_login, self._tokens),)

    async def _shared_login(self, source: Repository) -> Credential | None:
        """Return user and password for *source* if its section says that vendors may have them."""
        account = self._keychain.configured_for(source)
        if account is None or not account.share_credentials:
            return None
        found = await self._keychain.account_for(source)
        login = found.credential if found.source is None else await found.source.current()
        return login if login is not None and login.username and login.password else None
