"""Checks one registry, step by step: connection, login, reading, pushing, and limits that are known."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from http import HTTPStatus

from image_syncer.errors import Side, StoreError
from image_syncer.oci import RawManifest, Repository
from image_syncer.registry.auth.credential_sources import IssuedCredentialSource
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.checks.check_values import (
    CheckStep,
    RegistryReport,
    RegistryToCheck,
    attempt,
    failed_step,
)
from image_syncer.registry.checks.connection_check import ConnectionCheck
from image_syncer.registry.checks.create_check import after_creation, create_step
from image_syncer.registry.checks.push_check import PushCheck
from image_syncer.registry.checks.read_check import ReadCheck, catalogue_step, first_listed
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.host import Call
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import RegistryAccount
from image_syncer.registry.vendor_profiles import known_limits
from image_syncer.structs import replace


class RegistryCheck:
    """Checks *wanted* with the connections of *registries* and the logins of *keychain*.

    *writes*: push a tag to the target and delete it again; without it nothing is written.
    """

    def __init__(
        self, wanted: RegistryToCheck, registries: Registries, keychain: Keychain, clock: Clock, *, writes: bool = False
    ) -> None:
        self._wanted = wanted
        self._registries = registries
        self._keychain = keychain
        self._clock = clock
        self._writes = writes
        self._held: RawManifest | None = None

    async def run(self) -> RegistryReport:
        """Return what every step found; errors of the registry are results."""
        return RegistryReport(self._wanted, tuple([step async for step in self._steps()]))

    async def _steps(self) -> AsyncGenerator[CheckStep]:
        registry = self._wanted.registry
        try:
            account = await self._keychain.account_for(self._wanted.account_repository)
        except StoreError as error:
            yield failed_step("credentials", error)
            return
        yield credentials_step(account)
        connection = ConnectionCheck(registry, account, self._registries.transport(registry), self._clock)
        is_reached = True
        async for step in connection.steps():
            yield step
            is_reached = step.status != "failed"
        if is_reached:
            client = await self._registries.client(self._wanted.account_repository)
            async for step in self._rights(client, account):
                yield step
        for text in known_limits(registry):
            yield CheckStep("limits", "note", text)

    async def _rights(self, client: RegistryClient, account: RegistryAccount) -> AsyncGenerator[CheckStep]:
        login = await attempt("login", self._login(client, account))
        yield login
        if login.status == "failed":
            return
        listed = await _first_or_error(client)
        source = self._wanted.source or self._wanted.target or (listed if isinstance(listed, Repository) else None)
        if source is None:
            yield CheckStep("pull", "skipped", "no repository is known", "name one: image-syncer check HOST/REPOSITORY")
        else:
            async for step in self._read(client, source):
                yield step
        yield catalogue_step(listed, is_needed=self._wanted.needs_catalogue)
        if self._wanted.target is not None:
            async for step in self._push(self._wanted.target):
                yield step
        elif self._wanted.has_unknown_target:
            remedy = "name one: image-syncer check --push HOST/REPOSITORY"
            yield CheckStep("push", "skipped", "the names of the target repositories follow from the sources", remedy)

    async def _login(self, client: RegistryClient, account: RegistryAccount) -> CheckStep:
        """Send `GET /v2/` with the login, and with the rights that reading or pushing the repository needs."""
        side: Side = "source" if self._wanted.target is None else "target"
        repository = self._wanted.target or self._wanted.source
        requests = RepositoryRequests(client, self._wanted.account_repository, side)
        scopes = () if repository is None else RepositoryRequests(client, repository, side).scopes
        call = Call("GET", "/v2/", side, scopes)
        is_anonymous = account.credential is None
        expect = {200, 401, 403} if is_anonymous else {200}
        response = await client.request(call, requests.context(self._wanted.registry), expect=expect, retry=False)
        if not is_anonymous:
            return CheckStep("login", "ok", "the registry accepts it")
        if response.status == HTTPStatus.OK:
            return CheckStep("login", "ok", "the registry lets anonymous clients in")
        remedy = f"set user name and password for {self._wanted.registry}, or log in with docker login"
        text = f"none is configured, and the registry answers {response.status} without one"
        return CheckStep("login", "warning", text, remedy)

    async def _read(self, client: RegistryClient, source: Repository) -> AsyncGenerator[CheckStep]:
        is_target = source == self._wanted.target
        client = await self._registries.client(source) if source != self._wanted.account_repository else client
        check = ReadCheck(
            RepositoryRequests(client, source, "target" if is_target else "source"), must_exist=not is_target
        )
        async for step in check.steps():
            yield step
        if is_target:
            self._held = check.manifest

    async def _push(self, target: Repository) -> AsyncGenerator[CheckStep]:
        requests = RepositoryRequests(await self._registries.client(target), target, "target")
        if self._wanted.source is not None and self._wanted.source != target:
            check = ReadCheck(requests, must_exist=False)
            async for step in check.steps():
                if step.name == "pull":
                    yield replace(step, name="target")
            self._held = check.manifest
        create = await create_step(self._registries.preparations(), target)
        if create is not None:
            yield create
        push = PushCheck(requests, self._registries.target(target), self._held)
        async for step in push.steps(writes=self._writes):
            yield step if step.name != "push" else after_creation(step, create)


async def _first_or_error(client: RegistryClient) -> Repository | StoreError | None:
    try:
        return await first_listed(client)
    except StoreError as error:
        return error


def credentials_step(account: RegistryAccount) -> CheckStep:
    """Return whose login *account* has, where it comes from, and until when it is valid if that is known."""
    credential, source = account.credential, account.source
    if credential is None:
        return CheckStep("credentials", "note", "none configured: anonymous access")
    text = credential.username or "an identity token"
    if account.origin:
        text += f" from {account.origin}"
    if isinstance(source, IssuedCredentialSource) and source.expires_at is not None:
        text += f", valid until {datetime.fromtimestamp(source.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
    if account.further:
        text += f", and {len(account.further)} more"
    return CheckStep("credentials", "ok", text)
