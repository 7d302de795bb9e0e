"""Access control: open, Basic, or Bearer with tokens from the registry's own token server."""

import secrets
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from image_syncer.testing.accounts import parse_basic
from image_syncer.testing.fake.answers import RegistryError
from image_syncer.testing.profile import Profile
from image_syncer.testing.request_log import kind_of
from image_syncer.testing.tokens import IssuedToken, TokenService

SERVICE = "fake-registry"
ACCOUNT: Final = web.RequestKey[str | None]("account")
_BASIC = 'Basic realm="fake registry"'
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


class AccessControl:
    """Authorizes every request to `/v2/`; *tokens* handles requests to the profile's token server."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._accounts = profile.accounts
        self._granted: dict[str, tuple[IssuedToken, float]] = {}
        self.tokens = TokenService(
            profile.accounts,
            profile.challenge_service,
            self._mint,
            token_seconds=profile.token_seconds,
            life_told=profile.token_life_told,
        )

    def check(self, request: web.Request) -> None:
        """Refuse *request* with a challenge or DENIED unless its credentials allow it; record the user."""
        match self._profile.auth:
            case "none":
                request[ACCOUNT] = None
            case "basic":
                request[ACCOUNT] = self._check_basic(request)
            case "bearer":
                basic = self._profile.basic_too and parse_basic(request.headers.get("Authorization")) is not None
                request[ACCOUNT] = self._check_basic(request) if basic else self._check_bearer(request)

    def _check_basic(self, request: web.Request) -> str:
        credentials = parse_basic(request.headers.get("Authorization"))
        if credentials is None or not self._accounts.knows(*credentials):
            raise _unauthorized(_BASIC)
        for resource, actions in _needed(request).items():
            kind, _, repository = resource.partition(":")
            if kind == "repository" and not actions <= self._accounts.allowed(credentials[0], repository):
                raise RegistryError(403, "DENIED", "requested access to the resource is denied")
        return credentials[0]

    def _check_bearer(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        needed = _needed(request)
        if kind_of(request.path) == "catalog" and not self._profile.catalog_takes_tokens:
            raise _unauthorized(_BASIC)
        grant, expires_at = self._granted.get(token if scheme.lower() == "bearer" else "", (None, 0.0))
        if grant is None or expires_at < time.monotonic():
            raise self._challenge(request, needed, "invalid_token" if token else "")
        if not all(grant.allows(resource, action) for resource, actions in needed.items() for action in actions):
            raise self._challenge(request, needed, "insufficient_scope")
        return grant.subject

    def _challenge(self, request: web.Request, needed: Mapping[str, frozenset[str]], error: str) -> RegistryError:
        if error == "invalid_token" and self._profile.basic_too:
            return _unauthorized(_BASIC)  # Harbor sends a token challenge only if the request has no Authorization.
        scopes = " ".join(f"{resource}:{','.join(sorted(actions))}" for resource, actions in needed.items())
        realm = f"{request.scheme}://{request.host}{self._profile.token_path}"
        fields = {"realm": realm, "service": self._profile.challenge_service, "scope": scopes, "error": error}
        return _unauthorized("Bearer " + ",".join(f'{key}="{value}"' for key, value in fields.items() if value))

    def expire_tokens(self) -> None:
        """Invalidate every token issued so far."""
        self._granted.clear()

    def _mint(self, grant: IssuedToken, seconds: float) -> str:
        token = secrets.token_urlsafe(24)
        self._granted[token] = grant, time.monotonic() + seconds
        return token


def _needed(request: web.Request) -> dict[str, frozenset[str]]:
    """Return the actions that *request* needs, by resource (distribution `handlers/app.go`)."""
    if kind_of(request.path) == "catalog":
        return {"registry:catalog": frozenset({"*"})}
    name = request.match_info.get("name")
    if name is None:
        return {}
    action = "metadata_read" if request.path.startswith("/acr/") else _ACTIONS.get(request.method)
    needed = {f"repository:{name}": frozenset({action} if action else {"pull", "push"})}
    if request.method == "POST" and (origin := request.query.get("from")):
        resource = f"repository:{origin}"
        needed[resource] = needed.get(resource, frozenset()) | {"pull"}
    return needed


def _unauthorized(challenge: str) -> RegistryError:
    return RegistryError(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
