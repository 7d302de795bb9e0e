"""Creates what a refused push lacks, once per repository: what and how the vendor's profile says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import Denied, NotFound, Refused, Side, StoreError, Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.preparing.creation import Creation
from image_syncer.registry.preparing.creators import ApiServer, run_creator
from image_syncer.registry.preparing.instructions import call_text, preparation_of, with_remedy
from image_syncer.registry.settings import ControlAccess, CreateSettings, Credential, RegistryAccount
from image_syncer.registry.vendors.vendor_profile import CreatorName, Preparation
from image_syncer.structs import Struct

_Pushed = TypeVar("_Pushed")
_WAITS: Final = (0.0, 1.0, 2.0, 4.0)  # Seconds: a registry may need a moment to see what its API has created.
_KEEP_SECONDS: Final = 300.0
_KEEP_FAILURE_SECONDS: Final = 60.0
_WHOLE_PATH: Final = frozenset({"aliyun", "aws", "gitlab", "quay", "volcengine"})  # Others create the first component.
_LIBRARIES: Final = frozenset({"aliyun", "aws", "tencent", "volcengine"})
_REFUSALS: Final = (NotFound, Unauthorized, Denied)


class _Result(Struct):
    """What a creation led to: whether anything is new, or its failure; valid *until*, on the monotonic clock."""

    until: float
    is_new: bool = False
    failure: StoreError | None = None


class Preparations:
    """The creations of a run. *client* and *transport* reach registries, *count* is called for each request."""

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
        self._results: dict[tuple[str, str], _Result] = {}
        self._flights: SingleFlight[tuple[str, str], _Result] = SingleFlight()

    async def push_again(
        self,
        repository: Repository,
        refusal: StoreError,
        push: Callable[[], Awaitable[_Pushed]],
        is_unrelated: Callable[[StoreError], bool],
    ) -> _Pushed:
        """Create what *repository* lacks after *refusal* of *push*, and return the result of another push.

        Raises the refusal, with a remedy, if nothing can be created; *is_unrelated* tells errors of the source apart.
        """
        client = await self._client(repository)
        for wait in _WAITS:
            await self.create_missing(repository, refusal)
            if wait:
                await client.retrying.clock.sleep(wait)
            try:
                return await push()
            except _REFUSALS as error:
                if is_unrelated(error):
                    raise
                refusal = error
        raise refusal

    async def create_missing(self, repository: Repository, refusal: StoreError) -> None:
        """Create what *repository* lacks; raise *refusal* if that is not why it was refused, or not to be done."""
        client = await self._client(repository)
        account = self._keychain.configured_for(repository)
        settings = None if account is None else account.create
        preparation = preparation_of(client, settings)
        if preparation is None or not (isinstance(refusal, NotFound) or preparation.hides):
            raise refusal
        if account is None or settings is None or preparation.creator is None:
            raise with_remedy(refusal, preparation, repository)
        result = await self._result(client, repository, account, preparation)
        if result.failure is not None:
            raise result.failure.with_traceback(None) from refusal
        if not result.is_new:
            raise refusal
        client.host.auth.forget_refusals()

    async def needed(self, repository: Repository) -> tuple[CreateSettings | None, Preparation, str] | None:
        """Return the settings, None without any, what a push needs, and the call for it; None if it needs nothing."""
        account = self._keychain.configured_for(repository)
        settings = None if account is None else account.create
        preparation = preparation_of(await self._client(repository), settings)
        return None if preparation is None else (settings, preparation, call_text(preparation, repository))

    async def hides(self, repository: Repository) -> bool:
        """Whether a 401 or 403 for *repository* may mean that it is missing, and a push would create it."""
        account = self._keychain.configured_for(repository)
        if account is None or account.create is None:
            return False
        preparation = preparation_of(await self._client(repository), account.create)
        return preparation is not None and preparation.hides and preparation.creator is not None

    async def announce(self, repository: Repository) -> str | None:
        """Return what a push to a missing *repository* would create, for people; None if nothing."""
        account = self._keychain.configured_for(repository)
        if account is None or account.create is None:
            return None
        preparation = preparation_of(await self._client(repository), account.create)
        if preparation is None or preparation.creator in {None, "gitlab"}:
            return None
        name = _name(preparation.creator, repository)
        return f"would create the {preparation.subject} {name} at {repository.registry} if a push finds it missing"

    async def _result(
        self, client: RegistryClient, repository: Repository, account: RegistryAccount, preparation: Preparation
    ) -> _Result:
        """Return the result of the creation, made by one caller for all."""
        key = (repository.registry, _name(preparation.creator, repository))

        async def create() -> _Result:
            now = asyncio.get_running_loop().time
            known = self._results.get(key)
            if known is not None and now() < known.until:
                return known
            try:
                is_new = await self._create(client, repository, account, preparation)
                result = _Result(now() + _KEEP_SECONDS, is_new)
            except StoreError as failure:
                result = _Result(now() + _KEEP_FAILURE_SECONDS, failure=failure)
            self._results[key] = result
            return result

        return await self._flights.do(key, create)

    async def _create(
        self, client: RegistryClient, repository: Repository, account: RegistryAccount, preparation: Preparation
    ) -> bool:
        """Create what is missing with the access that *account* has for that; False if it exists."""
        settings, creator = account.create, preparation.creator
        assert settings is not None  # noqa: S101 - the caller has looked
        assert creator is not None  # noqa: S101 - likewise
        if unknown := sorted(settings.options - set(preparation.options)):
            raise Refused(
                f"{repository}: create: {unknown[0]} is no setting of this vendor",
                remedy=f"leave it out of create: of {account.prefix}",
            )
        server = ApiServer(client, self._transport, self._count, is_insecure=account.insecure)
        control = account.control or ControlAccess()
        url = control.url or await _usual_url(creator, repository.registry, server)
        credential = control.credential or await self._own_credential(creator, repository, account)
        if creator == "gitlab" and (not url or credential is None):
            raise with_remedy(
                NotFound(f"{repository}: its project does not exist, or is closed"), preparation, repository
            )
        creation = Creation(repository.registry, repository.path, settings, url.rstrip("/"), credential)
        return await run_creator(
            creator,
            creation,
            server,
            f"{repository}: create the {preparation.subject}",
            call_text(preparation, repository),
        )

    async def _own_credential(
        self, creator: CreatorName, repository: Repository, account: RegistryAccount
    ) -> Credential | None:
        """Return the credential of the registry itself, if the API takes it; a library has ways of its own."""
        if creator in _LIBRARIES or creator == "huawei":
            key = account.credential if account.cloud is not None else None
            if key is None and creator == "huawei":
                from image_syncer.registry.auth.cloud_huawei import environment_key  # noqa: PLC0415 - only Huawei needs it

                return environment_key()
            return key
        if creator == "gitlab" or (account.control is not None and account.control.url):
            return None
        found = await self._keychain.account_for(repository)
        return found.credential if found.source is None else await found.source.current()


def _name(creator: CreatorName | None, repository: Repository) -> str:
    """Return the name of what *creator* creates for *repository*."""
    return repository.path if creator in _WHOLE_PATH else repository.path.partition("/")[0]


async def _usual_url(creator: CreatorName, registry: str, server: ApiServer) -> str:
    """Return the URL of the API's server; empty if a library knows it, or if it is unknown."""
    if creator in _LIBRARIES:
        return ""
    if creator == "gitlab":
        return "https://gitlab.com" if registry == "registry.gitlab.com" else ""
    if creator == "huawei":
        from image_syncer.registry.preparing.create_huawei import api_url  # noqa: PLC0415 - only Huawei needs it

        return api_url(registry)
    return await server.own_url()
