"""Whose login is used where: the user's own entries first, then the files that docker and containers tools keep."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from image_syncer.errors import StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_helpers import ask_helper, server_address
from image_syncer.registry.auth.docker_config import LoginFile, parse_login_file, read_login_file
from image_syncer.registry.settings import Credential, RegistryAccount


@dataclass(frozen=True, slots=True)
class _HelperResult:
    """What a credential helper said about a registry: a login, none, or that it can not say."""

    credential: Credential | None = None
    failure: StoreError | None = None


def longest_match(access: Sequence[RegistryAccount], repository: Repository) -> RegistryAccount | None:
    """Return the entry with the longest prefix of *repository*, None if none matches.

    A prefix ends at a `/` of the repository or at its end: `quay.io/core` is none of `quay.io/coreos/etcd`.
    """
    path = f"{repository}/"
    matching = [entry for entry in access if path.startswith(f"{entry.prefix.rstrip('/')}/")]
    return max(matching, key=lambda entry: len(entry.prefix.rstrip("/")), default=None)


class Keychain:
    """Finds the access for a repository.

    *access* are the user's own entries. Where none of them has a login, these are asked in turn: the text in
    `DOCKER_AUTH_CONFIG`, the file that `REGISTRY_AUTH_FILE` names, `$XDG_RUNTIME_DIR/containers/auth.json`,
    `$XDG_CONFIG_HOME/containers/auth.json` (by default in `~/.config`) and `$DOCKER_CONFIG/config.json` (by default in
    `~/.docker`). Each is read once, when it is first needed.
    """

    def __init__(self, access: Sequence[RegistryAccount], *, environment: Mapping[str, str], home: Path) -> None:
        self._access = tuple(access)
        self._environment = environment
        self._paths = _paths(environment, home)
        self._files: dict[str, LoginFile | None] = {}
        self._helped: dict[tuple[str, str], _HelperResult] = {}
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Keychain({len(self._access)} entries)"

    async def account_for(self, repository: Repository) -> RegistryAccount:
        """Return how to reach *repository*: the longest matching entry, with a login from the files if it has none.

        An entry that only says `insecure` keeps that. Without any login the access is anonymous. Raises `Unauthorized`
        where a file that had to be asked can not be read, or where a credential helper fails.
        """
        own = longest_match(self._access, repository)
        if own is not None and own.credential is not None:
            return own
        async with self._lock:  # Helpers may ask the user to unlock something: one question at a time.
            found = await self._find(repository)
        if own is None:
            return found or RegistryAccount(repository.registry)
        return own if found is None else replace(own, credential=found.credential, origin=found.origin)

    async def _find(self, repository: Repository) -> RegistryAccount | None:
        for path in self._paths:
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
        return await asyncio.to_thread(read_login_file, Path(path))

    async def _find_in(self, file: LoginFile, repository: Repository) -> RegistryAccount | None:
        """Return the login in *file*: from the registry's own helper, an entry, or the helper for all others."""
        registry = repository.registry
        if helper := file.helpers.get(registry):
            return await self._helped_access(helper, registry)
        entry = file.entry(repository)
        if entry is not None:
            return RegistryAccount(entry.prefix, entry.credential(), origin=file.name)
        return await self._helped_access(file.store, registry) if file.store else None

    async def _helped_access(self, helper: str, registry: str) -> RegistryAccount | None:
        key = (helper, registry)
        if key not in self._helped:
            self._helped[key] = await self._ask(helper, registry)
        helped = self._helped[key]
        if helped.failure is not None:
            raise helped.failure.with_traceback(None)  # Raised often, it would gather the frames of every time.
        if helped.credential is None:
            return None
        return RegistryAccount(registry, helped.credential, origin=f"docker-credential-{helper}")

    async def _ask(self, helper: str, registry: str) -> _HelperResult:
        try:
            return _HelperResult(await ask_helper(helper, server_address(registry), self._environment))
        except StoreError as failure:
            return _HelperResult(failure=failure)


def _paths(environment: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Return what is asked for logins, first first; names of files, and of the variable that holds a whole file."""
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
