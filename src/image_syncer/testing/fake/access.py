"""Who may pass: nobody is asked, Basic, or Bearer with tokens of the registry's own token server."""

import secrets
import time
from typing import Literal

from aiohttp import web

from image_syncer.testing.accounts import Accounts, parse_basic
from image_syncer.testing.fake.answers import RegistryError
from image_syncer.testing.requests import kind_of
from image_syncer.testing.tokens import Grant, TokenService

Auth = Literal["none", "basic", "bearer"]

SERVICE = "fake-registry"
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


class AccessControl:
    """Decides about every request to `/v2/`; *tokens* answers at `/token`."""

    def __init__(self, auth: Auth, accounts: Accounts, *, token_seconds: float) -> None:
        self._auth: Auth = auth
        self._accounts = accounts
        self._granted: dict[str, tuple[Grant, float]] = {}
        self.tokens = TokenService(accounts, SERVICE, self._mint, token_seconds=token_seconds)

    def check(self, request: web.Request) -> None:
        """Refuse *request* with a challenge, or with DENIED, unless its credentials allow it."""
        match self._auth:
            case "none":
                return
            case "basic":
                self._check_basic(request)
            case "bearer":
                self._check_bearer(request)

    def _check_basic(self, request: web.Request) -> None:
        credentials = parse_basic(request.headers.get("Authorization"))
        if credentials is None or not self._accounts.knows(*credentials):
            challenge = {"WWW-Authenticate": 'Basic realm="fake registry"'}
            raise RegistryError(401, "UNAUTHORIZED", "authentication required", challenge)
        for resource, actions in _needed(request).items():
            kind, _, repository = resource.partition(":")
            if kind == "repository" and not actions <= self._accounts.allowed(credentials[0], repository):
                raise RegistryError(403, "DENIED", "requested access to the resource is denied")

    def _check_bearer(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        needed = _needed(request)
        grant, expires_at = self._granted.get(token if scheme.lower() == "bearer" else "", (None, 0.0))
        if grant is None:
            raise _challenge(request, needed, "invalid_token" if token else "")
        if expires_at < time.monotonic():
            raise _challenge(request, needed, "invalid_token")
        if not all(grant.allows(resource, action) for resource, actions in needed.items() for action in actions):
            raise _challenge(request, needed, "insufficient_scope")

    def expire_tokens(self) -> None:
        """Make every token that was handed out worthless."""
        self._granted.clear()

    def _mint(self, grant: Grant, seconds: float) -> str:
        token = secrets.token_urlsafe(24)
        self._granted[token] = grant, time.monotonic() + seconds
        return token


def _needed(request: web.Request) -> dict[str, frozenset[str]]:
    """Return the actions that *request* takes, by resource (distribution `handlers/app.go`)."""
    if kind_of(request.path) == "catalog":
        return {"registry:catalog": frozenset({"*"})}
    name = request.match_info.get("name")
    if name is None:
        return {}
    action = _ACTIONS.get(request.method)
    needed = {f"repository:{name}": frozenset({action} if action else {"pull", "push"})}
    if request.method == "POST" and (origin := request.query.get("from")):
        resource = f"repository:{origin}"
        needed[resource] = needed.get(resource, frozenset()) | {"pull"}
    return needed


def _challenge(request: web.Request, needed: dict[str, frozenset[str]], error: str) -> RegistryError:
    scopes = " ".join(f"{resource}:{','.join(sorted(actions))}" for resource, actions in needed.items())
    fields = {"realm": f"{request.scheme}://{request.host}/token", "service": SERVICE, "scope": scopes, "error": error}
    parts = ",".join(f'{key}="{value}"' for key, value in fields.items() if value)
    return RegistryError(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": f"Bearer {parts}"})
