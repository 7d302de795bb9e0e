"""Who may come in, and what a browser must not be made to do."""

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
"""The fork's text, letter by letter: somebody may look for it."""


class Scheme(SecurityBase):
    """A dependency by which the description of a route names a kind of login. It verifies nothing: `Guard` does."""

    def __init__(self, name: str, description: str) -> None:
        self.scheme_name = name
        self.model = HTTPBase(scheme=name, description=description)

    async def __call__(self) -> None:
        """Let everybody pass."""


_SCHEMES: Final[tuple[tuple[tuple[type[Check], ...], Scheme], ...]] = (
    ((Basic,), Scheme("basic", "A configured user name and its password")),
    ((Bearer, Jwt), Scheme("bearer", "A configured token; for a hook of Google Pub/Sub the token that it signs")),
)


def described(checks: Sequence[Check]) -> list[Dependency]:
    """Return the dependencies by which a route's description says what *checks* ask for in `Authorization`."""
    return [Depends(scheme) for kinds, scheme in _SCHEMES if any(isinstance(check, kinds) for check in checks)]


class ForkRefusal(Exception):
    """The fork's 401, which has a text of its own and no challenge."""

    text = _FORK_REFUSAL


class Authentication:
    """Lets requests pass or answers for them; its methods are dependencies of routes."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    @property
    def access(self) -> list[Dependency]:
        """What stands before our own routes."""
        return [Depends(self.require_login), *described(self._settings.logins)]

    @property
    def fork_access(self) -> list[Dependency]:
        """What stands before the fork's routes."""
        login = self._settings.fork.login if self._settings.fork is not None else None
        return [
            Depends(self.require_same_origin),
            Depends(self.known_to_fork),
            *described([login] if login is not None else []),
        ]

    async def require_login(self, request: Request) -> None:
        """Refuse with 401 who does not show one of the logins; without any, everybody may pass."""
        logins = self._settings.logins
        if logins and not verify(logins, SignedDelivery(request.headers, b"")).passed:
            raise HTTPException(401, "a login is needed", challenge(logins))

    async def known_to_fork(self, request: Request) -> None:
        """Refuse as the fork does who does not show its one login."""
        login = self._settings.fork.login if self._settings.fork is not None else None
        if login is not None and not verify([login], SignedDelivery(request.headers, b"")).passed:
            raise ForkRefusal

    async def require_same_origin(self, request: Request) -> None:
        """Refuse with 403 what another site's page makes a browser send: it would carry its user's login."""
        if is_foreign(request.headers, self._settings.origins):
            raise HTTPException(403, "a request with effects must not come from another site's page")


def challenge(checks: Sequence[Check]) -> dict[str, str]:
    """Return the header by which callers learn how to log in (RFC 9110 section 11.6.1); empty for other proofs."""
    schemes = [text for kind, text in _CHALLENGES if any(isinstance(check, kind) for check in checks)]
    return {"www-authenticate": ", ".join(schemes)} if schemes else {}


def is_foreign(headers: Mapping[str, str], origins: Sequence[str] = ()) -> bool:
    """Whether a browser sends this for another site's page (Fetch Metadata; RFC 6454). Other programs name no page.

    The scheme of an origin is not compared: a proxy may have ended TLS.
    """
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return True
    origin = headers.get("origin")
    if origin is None or origin in origins:
        return False
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return True
    return not host or host.lower() != headers.get("host", "").lower()
