"""Answers authentication challenges and obtains bearer tokens (distribution auth/token.md and oauth.md)."""

import base64
import math
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urljoin

from image_syncer.bounded_json import parse_object
from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import (
    Denied,
    InsecureConnection,
    ProtocolError,
    RateLimited,
    Side,
    StoreError,
    Unauthorized,
    Unavailable,
    UnknownHost,
)
from image_syncer.registry.auth.challenge import Challenge, merge_scopes
from image_syncer.registry.error_mapping import parse_retry_after
from image_syncer.registry.http.messages import compression_error, released
from image_syncer.registry.http.transport import Request, Response
from image_syncer.registry.http.urls import Origin, join, origin_of, redacted
from image_syncer.registry.limits.circuit_breaker import NegativeCache
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.structs import Struct, field

Send = Callable[[Request, Side], Awaitable[Response]]
"""Sends one request unchanged and counts it; the caller releases the response."""

CATALOGUE_SCOPE: Final = "registry:catalog:*"
"""The scope of the list of repositories."""
LOGIN_SCOPE: Final = "user and password"
"""Stands in the scopes of a request to a vendor's own API, which takes user and password and no registry token."""
_CLIENT_ID: Final = "image-syncer"
_SHORTEST_SECONDS: Final = 60.0  # auth/token.md: a missing or shorter lifetime means 60.
_LONGEST_SECONDS: Final = 24 * 3600.0
_EARLY_SECONDS: Final = 10.0  # Renew a token this early: it must not expire while a request is in flight.
_REFUSAL_SECONDS: Final = 60.0  # Repeat a refused login no sooner: repetition can lock the account.
_CACHED_ENTRIES: Final = 1_024
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")


class Authorization(Struct):
    """The value of a request's `Authorization` header, and the scopes of a token in it.

    *fresh*: the token server has just issued the token, so another one would be no better.
    """

    header: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def is_bearer(self) -> bool:
        """Whether it holds a token rather than user and password."""
        return self.header.startswith("Bearer ")


class _Key(Struct):
    realm: str = field(repr=False)
    service: str
    scopes: tuple[str, ...]


class _CachedToken(Struct):
    text: str = field(repr=False)
    expires_at: float  # On the monotonic clock.


class Authenticator:
    """Authorizes requests to one registry. It sends none until `learn` passes a challenge of the registry to it."""

    def __init__(self, registry: str, access: RegistryAccount, send: Send, *, token_bytes: int, clock: Clock) -> None:
        self._registry = registry
        self._access = access
        self._send = send
        self._token_bytes = token_bytes
        self._clock = clock
        self._credential = access.credential
        self._identity_token = ""  # What the registry gave for the exchange token of the credential.
        self._challenge: Challenge | None = None
        self._base = ""
        self._tokens: dict[_Key, _CachedToken] = {}
        self._refusals: dict[_Key, tuple[StoreError, float]] = {}
        self._widened: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._oauth_refused = False
        self._catalogue_takes_basic = False
        self._no_second_attempt_until = -math.inf
        self._flights: SingleFlight[_Key, _CachedToken] = SingleFlight()
        self._negative_cache = NegativeCache()

    @property
    def service(self) -> str:
        """The service that the registry's challenge names; empty before there is one."""
        return "" if self._challenge is None else self._challenge.get("service")

    def learn(self, challenge: Challenge | None, base: str, asked: tuple[str, ...] | None = None) -> None:
        """Answer *challenge*, received from the URL *base*, from now on.

        If it came for a request with the scopes *asked*, later requests for these scopes ask for its scopes too. None
        changes nothing: some registries send challenges only for `/v2/`, others only for other paths.
        """
        if challenge is None:
            return
        self._challenge, self._base = challenge, base
        if asked is not None and (wider := merge_scopes(asked, challenge.scopes)) != merge_scopes(asked):
            _store(self._widened, asked, wider)

    async def authorize(self, scopes: tuple[str, ...], side: Side) -> Authorization | None:
        """Return the authorization for a request that needs *scopes*, None if there is none, or no need.

        Raises `Unauthorized` or `Denied` if the token server refuses, and the errors of `Send`.
        """
        if self._challenge is None:
            return None
        takes_basic = LOGIN_SCOPE in scopes or (self._catalogue_takes_basic and scopes == (CATALOGUE_SCOPE,))
        if self._challenge.scheme == "basic" or takes_basic:
            credential = await self._current_credential()
            return Authorization(_basic(credential)) if credential and credential.username else None
        key = self._key(self._challenge, self._widened.get(scopes, merge_scopes(scopes)))
        token, fresh = await self._token(key, side)
        return Authorization(f"Bearer {token.text}", key.scopes, fresh)

    def discard(self, authorization: Authorization, challenge: Challenge | None = None) -> None:
        """Drop the refused token of *authorization* from the cache; a newer one in its place stays.

        *challenge* came with the refusal: Harbor lists repositories to user and password, and to no token.
        """
        self._catalogue_takes_basic |= self._asks_for_basic(challenge, authorization)
        text = authorization.header.removeprefix("Bearer ")
        self._tokens = {key: token for key, token in self._tokens.items() if token.text != text}

    def forget_refusals(self) -> None:
        """Ask the token server again for what it has refused: what was missing exists now."""
        self._refusals.clear()

    async def replace_credential(self, status: int, authorization: Authorization | None) -> bool:
        """Whether there is another credential now than the one that the registry refused with *status*.

        *authorization* had been sent. Token servers refuse credentials themselves: only user and password count here.
        """
        source = self._access.source
        if source is None or status != HTTPStatus.UNAUTHORIZED or self._challenge is None:
            return False
        if self._challenge.scheme != "basic" or (authorization is not None and authorization.is_bearer):
            return False
        sent = self._credential
        if authorization is not None and (sent is None or _basic(sent) != authorization.header):
            return True  # Another request has replaced it meanwhile.
        if not await source.replace(sent):
            return False
        await self._current_credential()
        return self._credential is not None

    async def _current_credential(self) -> Credential | None:
        """Return the credential to use now; another one than before gets a new chance at the token server."""
        if self._access.source is not None:
            credential = await self._access.source.current()
            if credential != self._credential:
                self._credential, self._identity_token, self._oauth_refused = credential, "", False
                self._refusals.clear()
        return self._credential

    def is_worth_retrying(self, status: int, challenge: Challenge | None, authorization: Authorization | None) -> bool:
        """Whether a new authorization may succeed after *status* with *challenge*; *authorization* had been sent."""
        refused = status == HTTPStatus.UNAUTHORIZED
        if authorization is None:
            return refused and challenge is not None and self._can_answer(challenge)
        if not authorization.is_bearer:
            return refused and challenge is not None and challenge.scheme == "bearer"
        if challenge is None:
            return refused and not authorization.fresh
        if refused and self._asks_for_basic(challenge, authorization):
            return True
        if not refused and challenge.get("error") != "insufficient_scope":
            return False
        return not authorization.fresh or merge_scopes(authorization.scopes, challenge.scopes) != authorization.scopes

    def may_be_premature(self, status: int, challenge: Challenge | None, authorization: Authorization | None) -> bool:
        """Whether *status* may mean that the registry's clock is behind that of the token server.

        Then a new token is not valid yet. A registry that lacks rights in the token says so ("insufficient_scope"). If
        a second attempt does not help either, there is no other within a minute: each costs a second.
        """
        if status != HTTPStatus.UNAUTHORIZED or authorization is None or not authorization.fresh:
            return False
        if challenge is not None and challenge.get("error") == "insufficient_scope":
            return False
        return self._clock.monotonic() >= self._no_second_attempt_until

    def record_second_attempt(self, status: int) -> None:
        """Record the *status* of the second attempt with a token that might have been premature."""
        if status == HTTPStatus.UNAUTHORIZED:
            self._no_second_attempt_until = self._clock.monotonic() + _REFUSAL_SECONDS

    def _asks_for_basic(self, challenge: Challenge | None, authorization: Authorization) -> bool:
        """Whether *challenge* demands user and password, which we have, for the catalogue instead of the token sent."""
        if challenge is None or challenge.scheme != "basic" or CATALOGUE_SCOPE not in authorization.scopes:
            return False
        return self._can_answer(challenge)

    def _can_answer(self, challenge: Challenge) -> bool:
        credential = self._credential
        return challenge.scheme == "bearer" or bool(credential and credential.username)

    def _key(self, challenge: Challenge, scopes: tuple[str, ...]) -> _Key:
        """Return the token request; raises `ProtocolError` for a realm that must not get credentials."""
        realm = challenge.get("realm")
        base = origin_of(self._base)
        try:
            plain = origin_of(urljoin(self._base, realm)).scheme == "http"
        except ValueError as error:
            raise ProtocolError(f"{self._registry}: the address of its token server is invalid") from error
        if plain and base.scheme == "https":
            raise ProtocolError(
                f"{self._registry}: its token server {redacted(realm)} is not asked over plain http",
                remedy="the registry must name an https address as its realm",
            )
        return _Key(join(self._base, realm), challenge.get("service"), scopes)

    async def _token(self, key: _Key, side: Side) -> tuple[_CachedToken, bool]:
        now = self._clock.monotonic()
        token = self._tokens.get(key)
        if token is not None and now < token.expires_at:
            return token, False
        await self._current_credential()
        refusal, until = self._refusals.get(key, (None, 0.0))
        if refusal is not None and now < until:
            raise refusal.with_traceback(None)  # Raised again and again, it would collect the frames of each time.
        return await self._flights.do(key, lambda: self._fetch_and_store(key, side)), True

    async def _fetch_and_store(self, key: _Key, side: Side) -> _CachedToken:
        began = self._clock.monotonic()
        if (failure := self._negative_cache.cached_failure(began)) is not None:
            raise failure
        try:
            token = await self._fetch_with_any_credential(key, side)
        except (Unauthorized, Denied) as refusal:
            _store(self._refusals, key, (refusal, self._clock.monotonic() + _REFUSAL_SECONDS))
            raise
        except (UnknownHost, InsecureConnection) as failure:
            self._negative_cache = self._negative_cache.after_failure(failure, began, self._clock.monotonic())
            raise
        self._negative_cache = NegativeCache()
        _store(self._tokens, key, token)
        return token

    async def _fetch_with_any_credential(self, key: _Key, side: Side) -> _CachedToken:
        """Return a token; if the credential is refused and its source has another one, for that one."""
        credential = self._credential
        try:
            return await self._fetch(key, side, credential)
        except (Unauthorized, Denied):
            if self._access.source is None or not await self._access.source.replace(credential):
                raise
            return await self._fetch(key, side, await self._current_credential())

    async def _fetch(self, key: _Key, side: Side, credential: Credential | None) -> _CachedToken:
        if credential is not None and credential.exchange_token:
            credential = await self._exchanged(key, credential, side)
        has_identity_token = credential is not None and bool(credential.identity_token)
        if credential is not None and has_identity_token and not self._oauth_refused:
            async with released(await self._send(_refresh_request(key, credential.identity_token), side)) as response:
                if not _may_lack_oauth(response.status):
                    return await self._read(response)
        async with released(await self._send(_token_request(key, credential), side)) as response:
            token = await self._read(response)
        self._oauth_refused = has_identity_token  # GET works, so later tokens need no POST.
        return token

    async def _exchanged(self, key: _Key, credential: Credential, side: Side) -> Credential:
        """Return the identity token that the registry gives for an access token of Azure (`/oauth2/exchange`)."""
        if not self._identity_token:
            request = _exchange_request(origin_of(key.realm), key.service, credential.exchange_token)
            async with released(await self._send(request, side)) as response:
                self._identity_token = (await self._read(response, "refresh_token")).text
        return Credential(identity_token=self._identity_token)

    async def _read(self, response: Response, *names: str) -> _CachedToken:
        """Return the token in one of the fields *names*; by default those of an access token."""
        names = names or ("token", "access_token")
        if response.status != HTTPStatus.OK:
            raise self._refusal(response)
        content = await response.read(self._token_bytes)
        where = f"{self._registry}: its token server {_host(response)}"
        try:
            document = parse_object(content, f"{where} gives no usable token")
        except ProtocolError as error:
            raise compression_error(response.headers, where) or error from error.__cause__
        text: object = next(filter(None, map(document.get, names)), None)
        if not isinstance(text, str) or not _TOKEN.fullmatch(text):
            raise ProtocolError(f"{where} gives no usable token")
        return _CachedToken(text, self._clock.monotonic() + lifetime(document.get("expires_in")) - _EARLY_SECONDS)

    def _refusal(self, response: Response) -> StoreError:
        """Return the error for a token server's refusal. Its text is not shown: it may repeat our credentials."""
        status, where = response.status, f"{self._registry}: its token server {_host(response)}"
        wait = parse_retry_after(response.headers.get("Retry-After"), self._clock.now)
        match response.status:
            case HTTPStatus.TOO_MANY_REQUESTS:
                return RateLimited(f"{where} answers {status}", status=status, retry_after=wait)
            case HTTPStatus.FORBIDDEN:
                return Denied(f"{where} refuses us a token", status=status, remedy=self._remedy("the rights of"))
            case HTTPStatus.BAD_REQUEST | HTTPStatus.UNAUTHORIZED:
                return self._unauthorized(where, status)
            case _ if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return Unavailable(f"{where} answers {status}", status=status, retry_after=wait)
            case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                return ProtocolError(f"{where} redirects, and credentials are not sent along", status=status)
            case _:
                return ProtocolError(f"{where} answers {status}", status=status)

    def _unauthorized(self, where: str, status: int) -> Unauthorized:
        if self._credential is None:
            remedy = f"set user name and password for {self._registry}"
            return Unauthorized(f"{where} gives no token without a login", status=status, remedy=remedy)
        remedy = self._remedy("user name and password of")
        return Unauthorized(f"{where} does not accept the credentials", status=status, remedy=remedy)

    def _remedy(self, subject: str) -> str:
        origin = self._access.origin
        return f"check {subject} {self._access.prefix}" + (f" in {origin}" if origin else "")


def _may_lack_oauth(status: int) -> bool:
    """Whether *status* in response to the POST of oauth.md may mean that the token server only supports GET."""
    if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}:
        return False
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED


def lifetime(expires_in: object) -> float:
    """Return the lifetime of a token in seconds: 60 if *expires_in* is missing, shorter or no number; at most a day."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return _SHORTEST_SECONDS
    if isinstance(expires_in, float) and not math.isfinite(expires_in):
        return _SHORTEST_SECONDS
    return float(min(max(expires_in, _SHORTEST_SECONDS), _LONGEST_SECONDS))


def _token_request(key: _Key, credential: Credential | None) -> Request:
    """Return the request of auth/token.md, "Requesting a Token"."""
    fields = [("service", key.service)] if key.service else []
    fields += [("scope", scope) for scope in key.scopes]
    fields.append(("client_id", _CLIENT_ID))
    if credential is None:
        return Request("GET", _with_query(key.realm, fields))
    if credential.username:
        fields.append(("account", credential.username))
    return Request("GET", _with_query(key.realm, fields), {"Authorization": _basic(credential)})


def _refresh_request(key: _Key, identity_token: str) -> Request:
    """Return the request of auth/oauth.md, "Refresh Token Format"."""
    fields = {
        "grant_type": "refresh_token",
        "service": key.service,
        "client_id": _CLIENT_ID,
        "scope": " ".join(key.scopes),
        "refresh_token": identity_token,
    }
    form = urlencode({name: value for name, value in fields.items() if value}, errors="surrogateescape")
    return Request("POST", key.realm, {"Content-Type": "application/x-www-form-urlencoded"}, form.encode())


def _exchange_request(origin: Origin, service: str, access_token: str) -> Request:
    """Return the request that exchanges *access_token* at an Azure registry."""
    fields = {"grant_type": "access_token", "service": service, "access_token": access_token}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", f"{origin.scheme}://{origin}/oauth2/exchange", headers, urlencode(fields).encode())


def _with_query(url: str, fields: list[tuple[str, str]]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields, safe=':,/', errors='surrogateescape')}"


def _basic(credential: Credential) -> str:
    user = credential.username or "<token>"  # The user name that docker's helpers use for an identity token.
    pair = f"{user}:{credential.password or credential.identity_token}"
    return f"Basic {base64.b64encode(pair.encode(errors='surrogateescape')).decode()}"


def _host(response: Response) -> str:
    return str(origin_of(response.url))


def _store(cache: dict[Any, Any], key: object, value: object) -> None:
    """Store *value* in a cache of bounded size, dropping the oldest entry if it is full."""
    cache.pop(key, None)
    while len(cache) >= _CACHED_ENTRIES:
        del cache[next(iter(cache))]
    cache[key] = value
