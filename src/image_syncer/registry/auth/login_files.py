"""Finds logins in the files of docker and the containers tools, and reads a file again when it has changed."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from image_syncer.errors import OutOfResources, StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_helpers import ask_helper, server_address
from image_syncer.registry.auth.docker_config import LoginFile, parse_login_file, read_login_file
from image_syncer.registry.http.descriptors import out_of_threads
from image_syncer.registry.settings import Credential
from image_syncer.structs import Struct

HELPER_SECONDS: Final = 3600.0
"""Seconds after which a credential helper is asked again: its protocol does not tell when a login expires."""

Stamp = tuple[tuple[int, int, int] | None, ...]


class FoundLogin(Struct):
    """A login for repositories under *prefix*; *origin* is the file or the helper. Use it until *expires_at*."""

    prefix: str
    credential: Credential
    origin: str
    expires_at: float | None = None  # On the clock of `LoginFiles`.


class _HelperResult(Struct):
    """The cached result of a credential helper: a login, none, or a failure."""

    asked_at: float
    credential: Credential | None = None
    failure: StoreError | None = None


class LoginFiles:
    """The login files of *environment* and *home*, in the order in which they are searched.

    These are the text in `DOCKER_AUTH_CONFIG`, the file that `REGISTRY_AUTH_FILE` names,
    `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json` (by default in `~/.config`) and
    `$DOCKER_CONFIG/config.json` (by default in `~/.docker`). *monotonic* is the clock.
    """

    def __init__(
        self, environment: Mapping[str, str], home: Path, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._environment = environment
        self._sources = login_sources(environment, home)
        self.monotonic = monotonic
        self._files: dict[str, tuple[object, LoginFile | None]] = {}
        self._helper_results: dict[tuple[str, str], _HelperResult] = {}
        self._lock = asyncio.Lock()  # A helper may prompt the user: one prompt at a time.

    def stamps(self) -> Stamp:
        """Return a value that changes when a file does; None stands for a file that is not there."""
        return tuple(_stamp(path) for path in self._sources)

    async def find(self, repository: str | Repository, *, again: bool = False) -> FoundLogin | None:
        """Return the login for *repository* (a repository, a namespace or a registry), None if there is none.

        With *again*, helpers are asked again. Raises `Unauthorized` if a file is unreadable or a helper fails.
        """
        async with self._lock:
            for path in self._sources:
                file = await self._file(path)
                found = None if file is None else await self._find_in(file, str(repository), again=again)
                if found is not None:
                    return found
            return None

    async def _file(self, path: str) -> LoginFile | None:
        stamp = _stamp(path)
        if path not in self._files or (stamp is not None and self._files[path][0] != stamp):
            # A file that vanishes leaves its logins: it may be about to be replaced.
            # A stamp that is taken before reading is never newer than the content.
            self._files[path] = (stamp, await self._load(path))
        return self._files[path][1]

    async def _load(self, path: str) -> LoginFile | None:
        if path == "DOCKER_AUTH_CONFIG":
            text = self._environment.get(path, "")
            return parse_login_file(text.encode(), path) if text else None
        try:
            return await asyncio.to_thread(read_login_file, Path(path))
        except RuntimeError as error:
            raise out_of_threads(error, path) or error from None

    async def _find_in(self, file: LoginFile, repository: str, *, again: bool) -> FoundLogin | None:
        """Return the login from *file*: the registry's own helper, an entry, or the default helper."""
        registry = repository.partition("/")[0]
        helper = file.helpers.get(registry, file.store)
        if helper and registry in file.helpers:
            return await self._from_helper(helper, registry, again=again)
        entry = file.entry(repository)
        if entry is not None:
            return FoundLogin(entry.prefix, entry.credential(), file.name)
        return await self._from_helper(helper, registry, again=again) if helper else None

    async def _from_helper(self, helper: str, registry: str, *, again: bool) -> FoundLogin | None:
        key = (helper, registry)
        result = self._helper_results.get(key)
        if result is None or again or self.monotonic() >= result.asked_at + HELPER_SECONDS:
            result = self._helper_results[key] = await self._run_helper(helper, registry)
        if result.failure is not None:
            # Raised again and again, it would collect the frames of each time.
            raise result.failure.with_traceback(None)
        if result.credential is None:
            return None
        expires_at = result.asked_at + HELPER_SECONDS
        return FoundLogin(registry, result.credential, f"docker-credential-{helper}", expires_at)

    async def _run_helper(self, helper: str, registry: str) -> _HelperResult:
        now = self.monotonic()
        try:
            return _HelperResult(now, await ask_helper(helper, server_address(registry), self._environment))
        except OutOfResources:
            raise  # The next call may find a free descriptor.
        except StoreError as failure:
            return _HelperResult(now, failure=failure)


def login_sources(environment: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Return the sources of logins in order: file names, and the variable that holds a whole file."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return tuple(
        filter(
            None,
            (
                "DOCKER_AUTH_CONFIG",
                environment.get("REGISTRY_AUTH_FILE"),
                str(Path(runtime, "containers/auth.json")) if runtime else None,
                str(config / "containers/auth.json"),
                str(docker_file(environment, home)),
            ),
        )
    )


def docker_file(environment: Mapping[str, str], home: Path) -> Path:
    """Return the path of docker's login file."""
    return Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return time, size and inode of a file; mounted secrets change by a symbolic link, and so by the inode."""
    try:
        status = os.stat(path)  # noqa: PTH116 - this is called often, and a Path costs more than the call
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
