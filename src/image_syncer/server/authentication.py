"""Authentication of callers, and protection against cross-site requests."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.openapi.models import HTTPBase
from fastapi.params import Depends as Dependency
from fastapi.security.base import SecurityBase

from image_syncer.events.oidc import Jwt
from image_syncer.events.signatures import Basic, Bearer, Check, SignedDelivery, verify
from image_syncer.server.server_settings import ServerSettings

_CHALLENGES: Final[tuple[tuple[type[Check], str], ...]] = (
    (Basic, 'Basic realm="image-syncer", charset="UTF-8"'),
    (Bearer, 'Bearer realm="image-syncer"'),
)
_FORK_REFUSAL: Final = "no auth or wrong pasword or wrong username"
"""The fork's text, letter by letter: scripts may look for it."""


class Scheme(SecurityBase):
    """Names a kind of login in the OpenAPI description. `Authentication` verifies it, not this dependency."""

    def __init__(self, name: str, description: str) -> None:
        self.scheme_name = name
        self.model = HTTPBase(scheme=name, description=description)

    async def __call__(self) -> None:
        """Accept every request."""


_SCHEMES: Final[tuple[tuple[tuple[type[Check], ...], Scheme], ...]] = (
    ((Basic,), Scheme("basic", "A configured user name and its password")),
    (
        (Bearer, Jwt),
        Scheme("bearer", "A configured token; for a Google Pub/Sub webhook a token signed by Google"),
    ),
)


def described(checks: Sequence[Check]) -> list[Dependency]:
    """Return the dependencies that describe in OpenAPI which `Authorization` the *checks* accept."""
    return [Depends(scheme) for kinds, scheme in _SCHEMES if any(isinstance(check, kinds) for check in checks)]


class ForkRefusal(Exception):
    """The fork's 401: its own text, no challenge."""

    text = _FORK_REFUSAL


class Authentication:
    """Accepts or refuses requests; its methods are dependencies of routes."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    @property
    def access(self) -> list[Dependency]:
        """The dependencies of the API and the pages."""
        return [Depends(self.require_login), *described(self._settings.logins)]

    @property
    def fork_access(self) -> list[Dependency]:
        """The dependencies of the fork's routes."""
        login = self._settings.fork.login if self._settings.fork is not None else None
        return [
            Depends(self.require_same_origin),
            Depends(self.require_fork_login),
            *described([login] if login is not None else []),
        ]

    async def require_login(self, request: Request) -> None:
        """Refuse with 401 a request without one of the configured logins; without logins accept every request."""
        logins = self._settings.logins
        if logins and not verify(logins, SignedDelivery(request.headers, b"")).passed:
            raise HTTPException(401, "authentication required", challenge(logins))

    async def require_fork_login(self, request: Request) -> None:
        """Refuse, as the fork does, a request without its one login."""
        login = self._settings.fork.login if self._settings.fork is not None else None
        if login is not None and not verify([login], SignedDelivery(request.headers, b"")).passed:
            raise ForkRefusal

    async def require_same_origin(self, request: Request) -> None:
        """Refuse with 403 a request that another site makes a browser send with its user's login."""
        if is_foreign(request.headers, self._settings.origins):
            raise HTTPException(403, "refused: a page of another site sent this request")


def challenge(checks: Sequence[Check]) -> dict[str, str]:
    """Return the `WWW-Authenticate` header for *checks* (RFC 9110 section 11.6.1); empty if none is an HTTP scheme."""
    schemes = [text for kind, text in _CHALLENGES if any(isinstance(check, kind) for check in checks)]
    return {"www-authenticate": ", ".join(schemes)} if schemes else {}


def is_foreign(headers: Mapping[str, str], origins: Sequence[str] = ()) -> bool:
    """Whether a browser sends this for a page of another site (Fetch Metadata; RFC 6454). Programs send no origin.

    Schemes are not compared: a proxy may terminate TLS.
    """
    site, origin = headers.get("sec-fetch-site", "").lower(), headers.get("origin")
    if site == "cross-site":
        return True
    if origin is not None:
        return origin not in origins and not _is_host(origin, headers)
    # A GET has no origin: a page of another port or subdomain is of the same site, and an old browser names its page.
    return site == "same-site" or not _is_host(headers.get("referer"), headers)


def _is_host(url: str | None, headers: Mapping[str, str]) -> bool:
    """Whether *url* is of the host that the request asks for; True without one."""
    if url is None:
        return True
    try:
        host = urlsplit(url).netloc
    except ValueError:
        return False
    return bool(host) and host.lower() == headers.get("host", "").lower()
