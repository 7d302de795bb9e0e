"""The keys by which issuers sign tokens: fetched when one is needed, and kept as long as they may be.

Strangers choose the id of the key that a token names, so an unknown one leads to a request at most once a minute.
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
from image_syncer.registry.http.json_fetch import JsonDocument, JsonFetcher
from image_syncer.registry.http.urls import is_tamper_proof, join
from image_syncer.server.backend import BackendUnavailable

_DOCUMENT_BYTES: Final = 256 * 1024
_SHORTEST_SECONDS: Final = 5 * 60.0
_USUAL_SECONDS: Final = 3600.0  # Where the issuer does not say how long its keys may be kept.
_LONGEST_SECONDS: Final = 24 * 3600.0
_GRACE_SECONDS: Final = 24 * 3600.0  # So much longer keys serve whose issuer can not be asked.
_PAUSE_SECONDS: Final = 60.0  # Between two requests to one issuer ...
_FIRST_PAUSE_SECONDS: Final = 10.0  # ... and as long as no key of it is known.


@dataclass(frozen=True, slots=True)
class _Place:
    """Where keys are: at the address *keys*, or, where that is None, where *issuer* says."""

    issuer: str
    keys: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    keys: SigningKeys
    fresh_until: float
    usable_until: float


class IssuerKeys:
    """The server's `KeyRing`. *clock* gives monotonic seconds."""

    def __init__(self, documents: JsonFetcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._documents = documents
        self._clock = clock
        self._known: dict[_Place, _Known] = {}
        self._not_before: dict[_Place, float] = {}
        self._flights: SingleFlight[_Place, None] = SingleFlight()
        self._log: Any = structlog.get_logger()

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        """Return the keys of the issuer that *rules* trust, asked again where *key_id* is unknown or they are old.

        Where the issuer can not be asked its old keys stay, for a day; `BackendUnavailable` where there are none.
        """
        place = _Place(rules.issuers[0], rules.keys)
        known = self._known.get(place)
        if known is None or key_id not in known.keys or self._clock() >= known.fresh_until:
            await self._flights.do(place, lambda: self._refresh(place))
            known = self._known.get(place)
        now = self._clock()
        if known is None or now >= known.usable_until:
            # Why is in the log alone: it is no stranger's business.
            wait = self._not_before.get(place, now) - now
            raise BackendUnavailable("the keys that tokens are signed with can not be had now", retry_after=wait)
        return known.keys

    async def _refresh(self, place: _Place) -> None:
        """Read the keys anew, unless that was tried just now."""
        now = self._clock()
        if now < self._not_before.get(place, now):
            return
        # Noted first: whoever asks may give up in between, and that counts as tried.
        self._not_before[place] = now + (_PAUSE_SECONDS if place in self._known else _FIRST_PAUSE_SECONDS)
        try:
            self._known[place] = await self._read(place)
        except ImageSyncerError as error:
            kept = place in self._known
            self._log.warning("keys.unavailable", issuer=place.issuer, error=str(error), old_keys_kept=kept)
        else:
            self._not_before[place] = self._clock() + _PAUSE_SECONDS

    async def _read(self, place: _Place) -> _Known:
        address = place.keys or await self._discover(place.issuer)
        document = await self._documents.get(address, _DOCUMENT_BYTES)
        keys = parse_keys(document.content)
        if not keys:
            raise MalformedNotification("a key set without a key that we could use")
        fresh_until = self._clock() + _keeping_seconds(document)
        return _Known(keys, fresh_until, fresh_until + _GRACE_SECONDS)

    async def _discover(self, issuer: str) -> str:
        """Return where *issuer* says that its keys are; `ProtocolError` where others could change them on the way."""
        address = discovery_address(issuer)
        document = await self._documents.get(address, _DOCUMENT_BYTES)
        keys = join(address, parse_discovery(issuer, document.content))
        if not is_tamper_proof(keys):
            raise ProtocolError(f"{issuer}: its keys are not at an https address")
        return keys


def token_check(claims: TokenClaims) -> Jwt:
    """Return the check that a token fits *claims*."""
    if claims.issuer is None:
        return Jwt(GOOGLE_ISSUERS, claims.audience, claims.email, claims.keys or GOOGLE_KEYS)
    return Jwt((claims.issuer,), claims.audience, claims.email, claims.keys)


def _keeping_seconds(document: JsonDocument) -> float:
    said = _USUAL_SECONDS if document.max_age is None else document.max_age
    return min(max(said, _SHORTEST_SECONDS), _LONGEST_SECONDS)
