"""Selects the login for a repository: configured entries first, then the files of docker and the containers tools."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_syncer.errors import OutOfResources, StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_helpers import ask_helper, server_address
from image_syncer.registry.auth.docker_config import LoginFile, parse_login_file, read_login_file
from image_syncer.registry.http.descriptors import out_of_threads
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.structs import Struct, replace


class _HelperResult(Struct):
    """The cached result of a credential helper: a login, none, or a failure."""

    credential: Credential | None = None
    failure: StoreError | None = None


def longest_match(access: Sequence[RegistryAccount], repository: Repository) -> RegistryAccount | None:
    """Return the entry with the longest prefix that matches *repository*, None if there is none.

    A prefix matches whole path components: `quay.io/core` does not match `quay.io/coreos/etcd`.
    """
    path = f"{repository}/"
    matching = [entry for entry in access if path.startswith(f"{entry.prefix.rstrip('/')}/")]
    return max(matching, key=lambda entry: len(entry.prefix.rstrip("/")), default=None)


class Keychain:
    """Finds the account for a repository.

    *access* holds the configured entries. If none of them has a login, these follow in turn: the text in
    `DOCKER_AUTH_CONFIG`, the file that `REGISTRY_AUTH_FILE` names, `$XDG_RUNTIME_DIR/containers/auth.json`,
    `$XDG_CONFIG_HOME/containers/auth.json` (by default in `~/.config`) and `$DOCKER_CONFIG/config.json` (by default in
    `~/.docker`). Each is read once, at its first use.
    """

    def __init__(self, access: Sequence[RegistryAccount], *, environment: Mapping[str, str], home: Path) -> None:
        self._access = tuple(access)
        self._environment = environment
        self._sources = _sources(environment, home)
        self._files: dict[str, LoginFile | None] = {}
        self._helper_results: dict[tuple[str, str], _HelperResult] = {}
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Keychain({len(self._access)} entries)"

    async def account_for(self, repository: Repository) -> RegistryAccount:
        """Return the account for *repository*: the longest matching entry, with a login from the files if it has none.

        The other settings of the entry stay. Without any login the account is anonymous. Raises `Unauthorized` if a
        file is unreadable or a credential helper fails.
        """
        entry = longest_match(self._access, repository)
        if entry is not None and entry.credential is not None:
            return entry
        async with self._lock:  # A helper may prompt the user: one prompt at a time.
            found = await self._find(repository)
        if entry is None:
            return found or RegistryAccount(repository.registry)
        return entry if found is None else replace(entry, credential=found.credential, origin=found.origin)

    async def _find(self, repository: Repository) -> RegistryAccount | None:
        for path in self._sources:
            file = await self._file(path)
            found = None if file is None else await self._find_in(file, repository)
            if found is not None:
                return found
        return None

    async def _file(self, path: str) -> LoginFile | None:
        if path not in self._files:
            self._files[path] = await self._load(path)
        return self._files[path]

    async def _load(self, path: str) -> LoginFile | None:
        if path == "DOCKER_AUTH_CONFIG":
            text = self._environment.get(path, "")
            return parse_login_file(text.encode(), path) if text else None
        try:
            return await asyncio.to_thread(read_login_file, Path(path))
        except RuntimeError as error:
            raise out_of_threads(error, path) or error from None

    async def _find_in(self, file: LoginFile, repository: Repository) -> RegistryAccount | None:
        """Return the login from *file*: the registry's own helper, an entry, or the default helper."""
        registry = repository.registry
        helper = file.helpers.get(registry, file.store)
        if helper and registry in file.helpers:
            return await self._account_from_helper(helper, registry)
        entry = file.entry(repository)
        if entry is not None:
            return RegistryAccount(entry.prefix, entry.credential(), origin=file.name)
        return await self._account_from_helper(helper, registry) if helper else None

    async def _account_from_helper(self, helper: str, registry: str) -> RegistryAccount | None:
        key = (helper, registry)
        if key not in self._helper_results:
            self._helper_results[key] = await self._run_helper(helper, registry)
        result = self._helper_results[key]
        if result.failure is not None:
            raise result.failure.with_traceback(
                None
            )  # Raised again and again, it would collect the frames of each time.
        if result.credential is None:
            return None
        return RegistryAccount(registry, result.credential, origin=f"docker-credential-{helper}")

    async def _run_helper(self, helper: str, registry: str) -> _HelperResult:
        try:
            return _HelperResult(await ask_helper(helper, server_address(registry), self._environment))
        except OutOfResources:
            raise  # The next call may find a free descriptor.
        except StoreError as failure:
            return _HelperResult(failure=failure)


def _sources(environment: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Return the sources of logins in order: file names, and the variable that holds a whole file."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    return tuple(
        filter(
            None,
            (
                "DOCKER_AUTH_CONFIG",
                environment.get("REGISTRY_AUTH_FILE"),
                str(Path(runtime, "containers/auth.json")) if runtime else None,
                str(config / "containers/auth.json"),
                str(docker / "config.json"),
            ),
        )
    )
