"""Connection to one registry: scheme discovery, authentication, redirects and TLS policy for each request."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from image_syncer.cache import MemoryHostFacts
from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import background
from image_syncer.errors import (
    InsecureConnection,
    ProtocolError,
    Side,
    StoreError,
    Unavailable,
    UnknownHost,
)
from image_syncer.registry.auth.authenticator import Authenticator, Authorization
from image_syncer.registry.auth.challenge import Challenge, parse_challenges, preferred
from image_syncer.registry.error_mapping import parse_retry_after, ping_failure
from image_syncer.registry.http.address_policy import (
    ANYWHERE,
    USER_NAMED,
    AddressPolicy,
    Zone,
    policy_for_redirects,
    zone_of_host,
)
from image_syncer.registry.http.connect_errors import client_certificate
from image_syncer.registry.http.messages import released
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    ConnectionRefused,
    HandshakeBroken,
    HandshakeTimeout,
    NotTls,
    Request,
    RequestBody,
    Response,
    Transport,
)
from image_syncer.registry.http.urls import Origin, has_port, host_of, is_loopback, join, origin_of, redacted
from image_syncer.registry.limits.circuit_breaker import NegativeCache
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import RegistryAccount
from image_syncer.registry.transport_settings import api_host
from image_syncer.roles import Fence, HostFacts
from image_syncer.structs import Struct, field, replace

_TLS_MISMATCH: Final = frozenset({HTTPStatus.BAD_REQUEST, 495, 496})  # nginx: bad and missing client certificate.
_METHOD_KEEPING_REDIRECTS: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303}) | _METHOD_KEEPING_REDIRECTS
_HANDSHAKE_SECONDS: Final = 3.0  # Of the first one if plain HTTP is allowed: a server without TLS may stay silent.
_PLAIN_DELAY_SECONDS: Final = 0.01  # The lead of TLS over a connection without it, where both are possible.
PLAIN_HTTP: Final = "plain_http"
"""The fact that a host is silent on TLS and speaks plain HTTP; used only if it may be insecure."""
_PLAIN_HTTP_SECONDS: Final = 7 * 86400.0
_TLS_LEAD_SECONDS: Final = 0.3  # For its answer, before the state is asked: most runs then need no state.
_PREMATURE_SECONDS: Final = 1.0  # Before a new token is sent again: the registry's clock may be behind.


class Call(Struct):
    """One request to a registry.

    *target* is a path that begins with `/v2/`, or a URL that `HostConnection.resolve` returned. *side* is the side that
    it is counted for. *scopes* are the rights it needs, such as `repository:library/nginx:pull,push`. With
    *accept_elsewhere*, any status of another host that a redirect leads to is returned, since it says nothing about the
    registry. *is_optional*: the request only saves work, so a 5xx is not retried, and says nothing about the health of
    the registry. With *is_elsewhere* the target is at another host, whose failures say nothing about the registry
    either. *fence* is checked right before each attempt to send the request.

    *follow* follows redirects of GET and HEAD. Those of POST and PUT are followed without it if they keep the method
    (307, 308) and the body is not a stream.
    """

    method: str
    target: str = field(repr=False)
    side: Side = "source"
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | RequestBody | None = field(default=None, repr=False)
    follow: bool = False
    accept_elsewhere: bool = False
    is_optional: bool = False
    is_elsewhere: bool = False
    fence: Fence | None = field(default=None, repr=False, compare=False)

    @property
    def is_counted(self) -> bool:
        """Whether registries with a quota count it: a GET of a manifest is a pull."""
        return self.method == "GET" and self.is_about_manifest

    @property
    def followed(self) -> frozenset[int]:
        """The redirects that are followed (RFC 9110, 15.4): 301 to 303 may turn a POST or PUT into a GET."""
        if self.follow:
            return _REDIRECTS
        is_repeatable = self.method in {"POST", "PUT"} and not isinstance(self.body, RequestBody)
        return _METHOD_KEEPING_REDIRECTS if is_repeatable else frozenset()

    @property
    def is_about_manifest(self) -> bool:
        """Whether its response may have quota headers."""
        return "/manifests/" in self.target

    def __str__(self) -> str:
        return f"{self.method} {redacted(self.target)}"


class HostConnection:
    """One registry with one account. *counter* is called with the side of every request, pings and tokens included."""

    def __init__(
        self,
        name: str,
        access: RegistryAccount | None,
        transport: Transport,
        *,
        counter: Callable[[Side], None],
        clock: Clock | None = None,
        facts: HostFacts | None = None,
    ) -> None:
        self.name = name
        self._facts = facts or MemoryHostFacts()
        self._access = access or RegistryAccount(name)
        self._transport = transport
        self._counter = counter
        self._clock = clock or Clock()
        self._api = api_host(name)
        self._insecure = self._access.insecure or is_loopback(host_of(self._api))
        self._own_host = host_of(self._api).lower()
        # A registry configured by address may have any; the zone of a name is resolved before the first request.
        self._own_reach = USER_NAMED if zone_of_host(self._own_host) is None else ANYWHERE
        self._zone = Zone.PUBLIC
        self._handshake_seconds = _HANDSHAKE_SECONDS if self._insecure else None  # Until the scheme is known.
        self._base: Origin | None = None
        self._failures = NegativeCache()
        self._discovery: SingleFlight[str, Origin] = SingleFlight()
        self.auth = Authenticator(
            name, self._access, self._send, token_bytes=transport.limits.token_bytes, clock=self._clock
        )

    def __repr__(self) -> str:
        return f"HostConnection({self.name!r})"

    async def send(self, call: Call) -> Response:
        """Send *call* and return the response, whatever its status; the caller releases it.

        The first call discovers the scheme and the challenge. A refused token is replaced once, and a refused new token
        is sent again once, a second later; the next 401 or 403 is returned. Raises `Unavailable`, `InsecureConnection`,
        `Unauthorized`, `ProtocolError` and errors of the body.
        """
        base = await self._base_url(call.side)
        url = _absolute(base, call.target)
        same_origin = origin_of(url) == base
        authorization = await self.auth.authorize(call.scopes, call.side) if same_origin else None
        request = Request(call.method, url, call.headers, call.body)
        response = await self._send(request, call.side, authorization, follow=call.followed)
        if response.status < HTTPStatus.BAD_REQUEST or not same_origin or origin_of(response.url) != base:
            return response
        challenge = _challenge(response)
        is_worth_retrying = self.auth.is_worth_retrying(response.status, challenge, authorization)
        if not is_worth_retrying and not await self.auth.replace_credential(response.status, authorization):
            return await self._send_later(request, call, authorization, response)
        await response.release(failed=False)
        if authorization is not None and authorization.is_bearer:
            self.auth.discard(authorization, challenge)
            if challenge is None or challenge.scheme != "bearer":
                await self._ping(base, call.side)  # Harbor sends the right challenge only without Authorization.
                challenge = None
        self.auth.learn(challenge, response.url, call.scopes)
        authorization = await self.auth.authorize(call.scopes, call.side)
        response = await self._send(request, call.side, authorization, follow=call.followed)
        return await self._send_later(request, call, authorization, response)

    async def _send_later(
        self, request: Request, call: Call, authorization: Authorization | None, response: Response
    ) -> Response:
        """Return *response*, or that of a second attempt a second later if the token in it may be premature."""
        if not self.auth.may_be_premature(response.status, _challenge(response), authorization):
            return response
        await response.release(failed=False)
        await self._clock.sleep(_PREMATURE_SECONDS)
        response = await self._send(request, call.side, authorization, follow=call.followed)
        self.auth.record_second_attempt(response.status)
        return response

    async def prepare(self, scopes: tuple[str, ...], side: Side, connections: int) -> None:
        """Do what requests with *scopes* would wait for: scheme, token, and *connections* if the registry is far."""
        base = await self._base_url(side)
        await self.auth.authorize(scopes, side)
        await self._transport.open_ahead(base, *self._way(base), connections=connections)

    def is_far(self) -> bool:
        """Whether round trips to the registry are long; False before the first."""
        return self._base is not None and self._transport.is_far(self._base, *self._way(self._base))

    def _way(self, origin: Origin) -> tuple[TlsPolicy, AddressPolicy]:
        policy = self._policy(origin)
        return policy, self._reach(origin, policy)

    async def resolve(self, base: str, location: str) -> str:
        """Return *location* from the response of *base* as an absolute URL (RFC 3986); its query stays untouched.

        `http://` with the registry's own host keeps https. Raises `ProtocolError` for an invalid URL.
        """
        return join(base, location)

    async def _send(
        self,
        request: Request,
        side: Side,
        authorization: Authorization | None = None,
        *,
        follow: frozenset[int] = frozenset(),
    ) -> Response:
        """Return the response to *request*, or the one that redirects with a status in *follow* lead to.

        *authorization* goes to the first origin only. A request that may have reached a registry is counted for *side*.
        """
        origin = first = origin_of(request.url)
        hop = request
        for _ in range(self._transport.limits.redirects + 1):
            if authorization is not None and origin == first:
                hop = replace(hop, headers={**request.headers, "Authorization": authorization.header})
            policy, reach = self._way(origin)
            try:
                response = await self._transport.send(hop, tls=policy, reach=reach)
            except (InsecureConnection, UnknownHost, HandshakeBroken, ConnectionRefused):
                raise  # It got no further than the handshake: no registry has seen a request.
            except BaseException:
                self._counter(side)
                raise
            self._counter(side)
            location = response.headers.get("Location")
            if response.status not in follow or location is None:
                return response
            await response.release(failed=False)
            hop = replace(request, url=join(hop.url, location))
            origin = origin_of(hop.url)
        raise ProtocolError(f"{self.name}: more than {self._transport.limits.redirects} redirects for {request}")

    def _reach(self, origin: Origin, policy: TlsPolicy) -> AddressPolicy:
        """Return the addresses that *origin* may have; the registry chooses all hosts but its own."""
        if origin.host == self._own_host:
            return self._own_reach
        verified = origin.scheme == "https" and not policy.insecure
        return policy_for_redirects(self._zone, verified=verified, private=self._access.private_network)

    def _policy(self, origin: Origin) -> TlsPolicy:
        """Return the TLS policy for *origin*: other hosts are verified unless it is insecure."""
        if origin.host == self._own_host:
            return TlsPolicy(self.name, self._insecure, self._handshake_seconds)
        return TlsPolicy(str(origin), self._access.insecure or is_loopback(origin.host))

    async def _base_url(self, side: Side) -> Origin:
        if self._base is None:
            if (failure := self._failures.cached_failure(self._clock.monotonic())) is not None:
                raise failure
            self._base = await self._discovery.do("scheme", lambda: self._discover_or_cache_failure(side))
            self._handshake_seconds = None
        return self._base

    async def _discover_or_cache_failure(self, side: Side) -> Origin:
        began = self._clock.monotonic()
        try:
            return await self._discover_scheme(side)
        except (UnknownHost, InsecureConnection) as failure:
            self._failures = self._failures.after_failure(failure, began, self._clock.monotonic())
            raise

    async def _discover_scheme(self, side: Side) -> Origin:
        """Return the origin to use: plain HTTP only for a registry that may be insecure and does not speak TLS.

        Pings carry no credentials, so nothing secret is sent before the scheme is known.
        """
        secure, plain = origin_of(f"https://{self._api}"), origin_of(f"http://{self._api}")
        if self._access.plain_http:
            self._zone = await self._transport.zone(f"http://{self._api}")
            await self._ping(plain, side)
            return plain
        self._zone = await self._transport.zone(f"https://{self._api}")
        try:
            if self._insecure:
                return await self._ping_insecure(secure, plain, side)
            await self._ping(secure, side)
        except HandshakeTimeout:
            if not self._insecure:
                raise
            return await self._plain_or_slow(plain, secure, side)
        except (NotTls, HandshakeBroken):
            if not self._insecure:
                raise
        except ConnectionRefused:
            if not self._insecure or has_port(self._api):
                raise
        else:
            return secure
        await self._ping(plain, side)
        return plain

    async def _ping_insecure(self, secure: Origin, plain: Origin, side: Side) -> Origin:
        """Return *secure* once it answers, or *plain* as soon as that is known from an earlier run and still answers.

        TLS has a head start: then a registry that speaks it again is never asked in plain HTTP.
        """
        answers_plain = asyncio.timeout(None)

        async def prepare_plain() -> None:
            await self._connect_late(plain)
            await asyncio.sleep(_TLS_LEAD_SECONDS)
            if await self._is_plain_as_remembered(plain, side):
                answers_plain.reschedule(asyncio.get_running_loop().time())

        try:
            async with background(prepare_plain()), answers_plain:
                await self._ping(secure, side)
        except TimeoutError:
            if not answers_plain.expired():
                raise
            return plain
        return secure

    async def _is_plain_as_remembered(self, plain: Origin, side: Side) -> bool:
        if await self._facts.get(self.name, PLAIN_HTTP) is None:
            return False
        try:
            redirect = await self._ping(plain, side)
        except StoreError:
            redirect = "https://"
        if redirect.startswith("https://"):
            self._facts.forget(self.name, PLAIN_HTTP)
            return False
        return True

    async def _connect_late(self, plain: Origin) -> None:
        """Connect to *plain* unless TLS answers soon: a far server without TLS then costs one round trip less."""
        await asyncio.sleep(_PLAIN_DELAY_SECONDS)
        await self._transport.open_ahead(plain, *self._way(plain), connections=1, only_far=False)

    async def _plain_or_slow(self, plain: Origin, secure: Origin, side: Side) -> Origin:
        """Return the origin of a server that did not answer a TLS handshake: plain HTTP, or else TLS that is slow.

        A server that is silent to plain HTTP too gets no further attempt: it is not slow, but out of order.
        """
        seconds = self._transport.limits.connect_seconds
        try:
            async with asyncio.timeout(seconds):
                redirect = await self._ping(plain, side)
        except TimeoutError:
            raise Unavailable(f"{self.name}: no response to TLS or plain HTTP within {seconds:g} s") from None
        except StoreError:
            self._handshake_seconds = None
            await self._ping(secure, side)
            return secure
        if not redirect.startswith("https://"):
            self._facts.remember(self.name, PLAIN_HTTP, "yes", seconds=_PLAIN_HTTP_SECONDS)
        return plain

    async def _ping(self, base: Origin, side: Side) -> str:
        """Send `GET /v2/` without Authorization, and record the challenge (distribution-spec, end-1).

        Return where the response redirects to; empty if it does not.
        """
        request = Request("GET", _absolute(base, "/v2/"))
        async with released(await self._send(request, side)) as response:
            wait = parse_retry_after(response.headers.get("Retry-After"), self._clock.now)
            error = ping_failure(self.name, response.status, wait)
            if error is not None:
                raise await self._tls_mismatch(response) or error
            self.auth.learn(_challenge(response), request.url)
            return response.headers.get("Location") or ""

    async def _tls_mismatch(self, response: Response) -> StoreError | None:
        """Return the error if the server, often a proxy in front of the registry, wants other TLS than we use.

        A server can only say so by a response, since it has accepted the connection: nginx with 400 and a page.
        """
        if response.status not in _TLS_MISMATCH:
            return None
        page = await response.read(self._transport.limits.error_bytes)
        if b"SSL certificate" in page:
            return InsecureConnection(
                f"{self.name}: the server demands a client certificate",
                status=response.status,
                remedy=client_certificate(self.name),
            )
        if response.url.startswith("http://") and b"HTTPS" in page:
            return InsecureConnection(f"{self.name}: the server speaks TLS, and not plain HTTP", status=response.status)
        return None


def _challenge(response: Response) -> Challenge | None:
    return preferred(parse_challenges(response.headers.all("WWW-Authenticate")))


def _absolute(base: Origin, target: str) -> str:
    return f"{base.scheme}://{base}{target}" if target.startswith("/") else target
