"""JWKS cache: the public keys of token issuers, fetched on demand and kept as long as the issuer allows.

Strangers choose the key id in a token, so an unknown id causes at most one request a minute.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.config.model import TokenClaims
from image_syncer.errors import ImageSyncerError, ProtocolError
from image_syncer.events import MalformedNotification
from image_syncer.events.oidc import (
    GOOGLE_ISSUERS,
    GOOGLE_KEYS,
    Jwt,
    SigningKeys,
    discovery_address,
    parse_discovery,
    parse_keys,
)
from image_syncer.events.sns import CERTIFICATE_LIMIT
from image_syncer.registry.http.json_fetch import JsonDocument, JsonFetcher
from image_syncer.registry.http.urls import is_tamper_proof, join
from image_syncer.server.web_backend import BackendUnavailable

_DOCUMENT_BYTES: Final = 256 * 1024
_SHORTEST_SECONDS: Final = 5 * 60.0
_DEFAULT_SECONDS: Final = 3600.0  # if the issuer sends no max-age
_LONGEST_SECONDS: Final = 24 * 3600.0
_GRACE_SECONDS: Final = 24 * 3600.0  # how much longer keys serve while their issuer is unreachable
_PAUSE_SECONDS: Final = 60.0  # between two requests to one issuer ...
_FIRST_PAUSE_SECONDS: Final = 10.0  # ... and while none of its keys is known


@dataclass(frozen=True, slots=True)
class _KeySource:
    """The address of a key set: *keys*, or, if that is None, the one that *issuer* publishes."""

    issuer: str
    keys: str | None


@dataclass(frozen=True, slots=True)
class _CachedKeys:
    """A key set and its validity, in seconds of the clock."""

    keys: SigningKeys
    fresh_until: float
    usable_until: float


class IssuerKeys:
    """The server's `KeyRing`. *clock* gives monotonic seconds."""

    def __init__(self, documents: JsonFetcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._documents = documents
        self._clock = clock
        self._known: dict[_KeySource, _CachedKeys] = {}
        self._next_request: dict[_KeySource, float] = {}
        self._refreshing: SingleFlight[_KeySource, None] = SingleFlight()
        self._log: Any = structlog.get_logger()

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        """Return the keys of the issuer that *rules* trust; fetch them if *key_id* is unknown or they are stale.

        While the issuer is unreachable its old keys stay valid for a day; `BackendUnavailable` without any.
        """
        source = _KeySource(rules.issuers[0], rules.keys)
        known = self._known.get(source)
        if known is None or key_id not in known.keys or self._clock() >= known.fresh_until:
            await self._refreshing.do(source, lambda: self._refresh(source))
            known = self._known.get(source)
        now = self._clock()
        if known is None or now >= known.usable_until:
            # Only the log has the reason: strangers see this answer.
            wait = self._next_request.get(source, now) - now
            raise BackendUnavailable("the keys that verify tokens are unavailable", retry_after=wait)
        return known.keys

    async def _refresh(self, source: _KeySource) -> None:
        """Fetch the keys, unless that was tried just now."""
        now = self._clock()
        if now < self._next_request.get(source, now):
            return
        # Set before the request: a cancelled caller counts as an attempt too.
        self._next_request[source] = now + (_PAUSE_SECONDS if source in self._known else _FIRST_PAUSE_SECONDS)
        try:
            self._known[source] = await self._read(source)
        except ImageSyncerError as error:
            is_kept = source in self._known
            self._log.warning("keys.unavailable", issuer=source.issuer, error=str(error), old_keys_kept=is_kept)
        else:
            self._next_request[source] = self._clock() + _PAUSE_SECONDS

    async def _read(self, source: _KeySource) -> _CachedKeys:
        address = source.keys or await self._discover(source.issuer)
        document = await self._documents.get(address, _DOCUMENT_BYTES)
        keys = parse_keys(document.content)
        if not keys:
            raise MalformedNotification("the key set has no usable key")
        fresh_until = self._clock() + _lifetime_seconds(document)
        return _CachedKeys(keys, fresh_until, fresh_until + _GRACE_SECONDS)

    async def _discover(self, issuer: str) -> str:
        """Return the address of the keys that *issuer* publishes; `ProtocolError` for one that is not https."""
        address = discovery_address(issuer)
        document = await self._documents.get(address, _DOCUMENT_BYTES)
        keys = join(address, parse_discovery(issuer, document.content))
        if not is_tamper_proof(keys):
            raise ProtocolError(f"{issuer}: the address of its keys is not https")
        return keys


class SnsAddresses:
    """The server's `SnsClient`: certificates are cached for the process, since each has a name of its own."""

    def __init__(self, fetcher: JsonFetcher) -> None:
        self._fetcher = fetcher
        self._certificates = SingleFlight[str, bytes](keep=True)

    async def certificate(self, url: str) -> bytes:
        """Return the PEM certificate at *url*; `BackendUnavailable` if it cannot be fetched now."""

        async def fetch() -> bytes:
            return (await self._get(url, CERTIFICATE_LIMIT)).content

        return await self._certificates.do(url, fetch)

    async def confirm(self, url: str) -> None:
        """Visit *url*, which confirms a subscription; `BackendUnavailable` if it cannot be reached now."""
        await self._get(url, _DOCUMENT_BYTES)

    async def _get(self, url: str, limit_bytes: int) -> JsonDocument:
        try:
            return await self._fetcher.get(url, limit_bytes)
        except ImageSyncerError as error:
            structlog.get_logger().warning("sns.unreachable", error=str(error))
            raise BackendUnavailable("SNS cannot be reached to verify its message now") from error


def token_check(claims: TokenClaims) -> Jwt:
    """Return the check of a token against *claims*."""
    if claims.issuer is None:
        return Jwt(GOOGLE_ISSUERS, claims.audience, claims.email, claims.keys or GOOGLE_KEYS)
    return Jwt((claims.issuer,), claims.audience, claims.email, claims.keys)


def _lifetime_seconds(document: JsonDocument) -> float:
    stated = _DEFAULT_SECONDS if document.max_age is None else document.max_age
    return min(max(stated, _SHORTEST_SECONDS), _LONGEST_SECONDS)
