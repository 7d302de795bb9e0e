"""Checks how a registry is reached: name, proxy, TLS certificate, `GET /v2/`, product and kind of login."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Final

from image_syncer.errors import InsecureConnection, StoreError, UnknownHost
from image_syncer.registry.auth.challenge import parse_challenges, preferred
from image_syncer.registry.checks.check_values import CheckStep, Status, attempt, failed_step
from image_syncer.registry.error_mapping import ping_failure
from image_syncer.registry.http.messages import Headers, released
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    ConnectionRefused,
    HandshakeBroken,
    HandshakeTimeout,
    NotTls,
    Request,
    Transport,
)
from image_syncer.registry.http.urls import Origin, has_port, host_of, is_loopback, origin_of, redacted
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import RegistryAccount
from image_syncer.registry.transport_settings import api_host
from image_syncer.registry.vendor_profiles import vendor_of

_HANDSHAKE_SECONDS: Final = 3.0
_EXPIRES_SOON: Final = timedelta(days=14)
_TEXT_CHARACTERS: Final = 80

# Headers that name a product, with the name that this tool shows.
_PRODUCTS: Final = (
    ("X-JFrog-Version", "Artifactory"),
    ("X-Artifactory-Id", "Artifactory"),
    ("X-Gitea-Version", "Gitea"),
    ("X-Forgejo-Version", "Forgejo"),
)


class ConnectionCheck:
    """The connection to *registry* as *account* is configured. No request has a login.

    *handshake_seconds* bounds the first TLS handshake of a registry that may speak plain HTTP, and so be silent to it.
    *challenge* describes the login that the registry asks for, once `steps` has ended; None: it answered no ping.
    """

    def __init__(
        self,
        registry: str,
        account: RegistryAccount,
        transport: Transport,
        clock: Clock,
        *,
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        self._name = registry
        self._api = api_host(registry)
        self._account = account
        self._transport = transport
        self._clock = clock
        self._handshake_seconds = handshake_seconds
        self._may_be_plain = account.insecure or account.plain_http or is_loopback(host_of(self._api))
        self.challenge: str | None = None

    async def steps(self) -> AsyncGenerator[CheckStep]:
        """Yield what each step found; nothing follows after one that failed."""
        name = await attempt("name", self._look_up())
        yield name
        if name.status == "failed":
            return
        try:
            origin, status, headers = await self._find_origin()
        except StoreError as error:
            yield failed_step("tls" if isinstance(error, InsecureConnection) else "connection", error)
            return
        if origin.scheme == "https":
            yield await attempt("tls", self._certificate(origin))
        elif is_loopback(origin.host):
            yield CheckStep("tls", "note", "plain HTTP, on this machine")
        else:
            text = "plain HTTP: logins and images can be read and changed on the way"
            yield CheckStep("tls", "warning", text, "serve the registry over TLS")
        refusal = ping_failure(self._name, status, None)
        if refusal is not None:
            yield failed_step("ping", refusal)
            return
        self.challenge = _login_kind(headers)
        yield CheckStep(
            "ping", "ok", f"GET /v2/ answers {status}{_product(self._name, headers)}; login: {self.challenge}"
        )

    async def _look_up(self) -> CheckStep:
        url = f"{'http' if self._account.plain_http else 'https'}://{self._api}/"
        proxy = self._transport.proxy(url)
        if proxy is not None:
            return CheckStep("name", "ok", f"resolved by the proxy {redacted(proxy)}")
        addresses = await self._transport.addresses(url)
        if not addresses:
            raise UnknownHost(f"{self._api}: its name has no address")
        return CheckStep("name", "ok", f"{', '.join(addresses[:4])}, reached without a proxy")

    async def _find_origin(self) -> tuple[Origin, int, Headers]:
        """Return the origin that answers, with status and headers: plain HTTP only where that is allowed."""
        secure, plain = origin_of(f"https://{self._api}"), origin_of(f"http://{self._api}")
        if self._account.plain_http:
            return plain, *await self._ping(plain)
        try:
            return secure, *await self._ping(secure, self._handshake_seconds if self._may_be_plain else None)
        except HandshakeTimeout:
            if not self._may_be_plain:
                raise
            try:
                return plain, *await self._ping(plain)
            except StoreError:  # It does not speak plain HTTP: it is slow.
                return secure, *await self._ping(secure)
        except (NotTls, HandshakeBroken):
            if not self._may_be_plain:
                raise
        except ConnectionRefused:
            if not self._may_be_plain or has_port(self._api):
                raise
        return plain, *await self._ping(plain)

    async def _ping(self, origin: Origin, handshake_seconds: float | None = None) -> tuple[int, Headers]:
        request = Request("GET", f"{origin.scheme}://{origin}/v2/")
        tls = TlsPolicy(self._name, insecure=self._may_be_plain, handshake_seconds=handshake_seconds)
        async with released(await self._transport.send(request, tls=tls)) as response:
            return response.status, response.headers

    async def _certificate(self, origin: Origin) -> CheckStep:
        """Check the certificate, also where the configuration accepts any."""
        try:
            certificate = await self._transport.certificate(origin, TlsPolicy(self._name))
        except InsecureConnection as error:
            if not self._may_be_plain:
                raise
            return CheckStep("tls", "warning", f"{error.message}; accepted, since this registry may be insecure")
        if certificate is None:
            return CheckStep("tls", "ok", "trusted; a proxy is in between, so its end is not shown")
        left = certificate.expires_at - self._clock.now()
        text = f"{certificate.protocol}, issued by {_short(certificate.issuer)}, expires {_day(certificate.expires_at)}"
        if left < _EXPIRES_SOON:
            return CheckStep("tls", "warning", f"{text}: in {left.days} days", "renew the certificate")
        return CheckStep("tls", *_insecure_without_need(text, is_insecure=self._account.insecure))


def _insecure_without_need(text: str, *, is_insecure: bool) -> tuple[Status, str, str | None]:
    if is_insecure:
        return "note", f"{text}; it is trusted", "remove insecure: true, which this registry does not need"
    return "ok", text, None


def _login_kind(headers: Headers) -> str:
    """Return which login the challenge in *headers* asks for."""
    challenge = preferred(parse_challenges(headers.all("WWW-Authenticate")))
    if challenge is None:
        return "none demanded"
    if challenge.scheme == "basic":
        return "user and password (Basic)"
    return f"token from {_short(redacted(challenge.get('realm')))}"


def _product(registry: str, headers: Headers) -> str:
    """Return what *headers* or the name of *registry* tell of the product, to be added to a text."""
    for header, product in _PRODUCTS:
        if (version := headers.get(header)) is not None:
            return f", {product} {_short(version)}".rstrip()
    if (vendor := vendor_of(registry)) is not None:
        return f", {vendor.name}"
    server = headers.get("Server")
    return f", server {_short(server)}" if server else ""


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}..."


def _day(when: datetime) -> str:
    return when.date().isoformat()
