"""Selects the login for a repository: configured entries, then login files, then the credentials of a cloud."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from image_syncer.errors import StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.cloud_providers import CloudProvider, cloud_of
from image_syncer.registry.auth.credential_sources import FileCredentialSource, IssuedCredentialSource
from image_syncer.registry.auth.login_files import LoginFiles
from image_syncer.registry.settings import CloudName, Credential, CredentialSource, RegistryAccount
from image_syncer.structs import replace


def longest_match(access: Sequence[RegistryAccount], repository: Repository) -> RegistryAccount | None:
    """Return the entry with the longest prefix that matches *repository*, None if there is none.

    A prefix matches whole path components: `quay.io/core` does not match `quay.io/coreos/etcd`.
    """
    path = f"{repository}/"
    matching = [entry for entry in access if path.startswith(f"{entry.prefix.rstrip('/')}/")]
    return max(matching, key=lambda entry: len(entry.prefix.rstrip("/")), default=None)


class Keychain:
    """Finds the account for a repository.

    *access* holds the configured entries. If none of them has a login, the login files follow (`LoginFiles`), and then
    the cloud that the registry belongs to, if its extra is installed and the environment has its credentials.
    """

    def __init__(self, access: Sequence[RegistryAccount], *, environment: Mapping[str, str], home: Path) -> None:
        self._access = tuple(access)
        self._environment = environment
        self._home = home
        self._files = LoginFiles(environment, home)
        self._sources: dict[object, CredentialSource] = {}

    def __repr__(self) -> str:
        return f"Keychain({len(self._access)} entries)"

    def configured_for(self, repository: Repository) -> RegistryAccount | None:
        """Return the configured entry for *repository* as it is written, None if there is none."""
        return longest_match(self._access, repository)

    async def account_for(self, repository: Repository) -> RegistryAccount:
        """Return the account for *repository*: the longest matching entry, with a login from elsewhere if it has none.

        The other settings of the entry stay. Without any login the account is anonymous. Raises `Unauthorized` if a
        file is unreadable, or if a credential helper or a cloud that the entry names fails.
        """
        registry = repository.registry
        entry = longest_match(self._access, repository)
        if entry is not None and entry.cloud is not None:
            further = tuple([await self._issued(one, registry) for one in entry.further])
            return replace(await self._issued(entry, registry), further=further)
        if entry is not None and entry.credential is not None:
            return entry
        found = await self._find(repository)
        if entry is None:
            return found
        return replace(
            entry,
            credential=found.credential,
            origin=found.origin or entry.origin,
            source=found.source,
            cloud=found.cloud,
        )

    async def _find(self, repository: Repository) -> RegistryAccount:
        """Return the login of the files or of a cloud; an account without a credential if there is none."""
        found = await self._files.find(repository)
        if found is None and (cloud := cloud_of(repository.registry, self._environment, self._home)) is not None:
            account = RegistryAccount(repository.registry, cloud=cloud, origin=f"the environment (auth: {cloud})")
            try:
                return await self._issued(account, repository.registry)
            except StoreError:
                pass  # The environment may be for something else, and the images may be public.
        prefix = repository.registry if found is None else found.prefix
        source = self._sources.get(prefix)
        if source is None:
            source = self._sources[prefix] = FileCredentialSource(self._files, prefix, found)
        if found is None:
            return RegistryAccount(prefix, source=source)
        return RegistryAccount(prefix, found.credential, origin=found.origin, source=source)

    async def _issued(self, account: RegistryAccount, registry: str) -> RegistryAccount:
        """Return *account* with a login that its cloud issues for *registry*."""
        if account.cloud is None:
            return account
        key: tuple[CloudName, Credential | None, str] = (account.cloud, account.credential, registry)
        source = self._sources.get(key)
        if source is None:
            provider = CloudProvider(account.cloud, account.credential)
            source = self._sources[key] = IssuedCredentialSource(provider, registry)
        return replace(account, credential=await source.current(), source=source)
