"""Credentials that change while the process runs: in login files, and issued by clouds for a limited time."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final, Protocol

from image_syncer.errors import StoreError
from image_syncer.registry.auth.login_files import FoundLogin, LoginFiles
from image_syncer.registry.settings import Credential
from image_syncer.structs import Struct

_CHECK_SECONDS: Final = 1.0  # Look for a change of the files no more often.
_RETRY_SECONDS: Final = 60.0  # After a search without result, search again no sooner.
_EARLY_SECONDS: Final = 300.0  # Renew a login of a cloud this early.


class IssuedCredential(Struct):
    """A credential that is valid until *expires_at*, in seconds since the epoch; None: it does not expire."""

    credential: Credential
    expires_at: float | None = None


class CredentialProvider(Protocol):
    """Issues credentials for registries."""

    async def credential(self, registry: str) -> IssuedCredential:
        """Return a new credential for *registry*; `Unauthorized` if there is none."""
        ...


class FileCredentialSource:
    """The credential that the login files have for *prefix*; *found* is the one that they had at first.

    A file that cannot be read for the moment, or that is gone, leaves the credential as it is: the registry then says
    whether it is still valid.
    """

    def __init__(self, files: LoginFiles, prefix: str, found: FoundLogin | None) -> None:
        self._files = files
        self._prefix = prefix
        self._stamps = files.stamps()
        self._set(found)
        self._next_check = files.monotonic() + _CHECK_SECONDS
        self._next_replacement = -math.inf
        self._lock = asyncio.Lock()

    async def current(self) -> Credential | None:
        """Return the credential, read again if a file has changed or a helper has not been asked for an hour."""
        now = self._files.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            if now >= self._expires_at or self._files.stamps() != self._stamps:
                async with self._lock:
                    await self._search(again=False)
        return self._credential

    async def replace(self, refused: Credential | None) -> bool:
        """Search the files and ask the helper again; return whether there is another credential than *refused*."""
        async with self._lock:
            now = self._files.monotonic()
            if self._credential == refused and now >= self._next_replacement:
                await self._search(again=True)
                if self._credential == refused:
                    self._next_replacement = now + _RETRY_SECONDS
            return self._credential != refused

    async def _search(self, *, again: bool) -> None:
        stamps = self._files.stamps()
        try:
            found = await self._files.find(self._prefix, again=again)
        except StoreError:
            self._expires_at = self._files.monotonic() + _RETRY_SECONDS
            return
        self._stamps = stamps
        if found is not None:
            self._set(found)
        else:
            self._expires_at = math.inf

    def _set(self, found: FoundLogin | None) -> None:
        self._credential = None if found is None else found.credential
        self._expires_at = math.inf if found is None or found.expires_at is None else found.expires_at


class IssuedCredentialSource:
    """A credential that *provider* issues for *registry*: renewed 5 minutes before it expires, and once if refused.

    A credential with a shorter life is renewed after half of it. If the provider fails, an old credential is used as
    long as it is valid. *now* is the wall clock.
    """

    def __init__(self, provider: CredentialProvider, registry: str, *, now: Callable[[], float] = time.time) -> None:
        self._provider = provider
        self._registry = registry
        self._now = now
        self._issued: IssuedCredential | None = None
        self._renew_at = -math.inf
        self._failure: StoreError | None = None
        self._next_replacement = -math.inf
        self._lock = asyncio.Lock()

    @property
    def expires_at(self) -> float | None:
        """When the current credential expires, in seconds since the epoch; None if it does not."""
        return None if self._issued is None else self._issued.expires_at

    async def current(self) -> Credential:
        """Return the credential, a new one if it expires soon."""
        if self._now() >= self._renew_at:
            async with self._lock:
                if self._now() >= self._renew_at:  # Otherwise another caller has just renewed it.
                    await self._renew()
        if self._issued is None or self._is_expired(self._issued):
            assert self._failure is not None  # noqa: S101 - `_renew` sets it if it gets no credential
            raise self._failure.with_traceback(None)
        return self._issued.credential

    async def replace(self, refused: Credential | None) -> bool:
        """Let the provider issue another credential than *refused*; return whether it did."""
        async with self._lock:
            now = self._now()
            is_current = self._issued is not None and self._issued.credential == refused
            if is_current and now < self._next_replacement:
                return False
            if is_current:
                self._next_replacement = now + _RETRY_SECONDS
                await self._renew()
            return self._issued is not None and self._issued.credential != refused

    async def _renew(self) -> None:
        now = self._now()
        try:
            self._issued = await self._provider.credential(self._registry)
        except StoreError as failure:
            self._failure = failure
            self._renew_at = now + _RETRY_SECONDS
            return
        self._failure = None
        expires_at = self._issued.expires_at
        life = math.inf if expires_at is None else expires_at - now
        self._renew_at = now + max(life - _EARLY_SECONDS, life / 2)

    def _is_expired(self, issued: IssuedCredential) -> bool:
        return self._failure is not None and issued.expires_at is not None and self._now() >= issued.expires_at
