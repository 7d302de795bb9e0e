"""Token endpoints by GET and by POST (distribution's token and oauth specs)."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from image_syncer.testing.accounts import Accounts, parse_basic


@dataclass(frozen=True, slots=True)
class Issuer:
    """The information that a registry needs about a token server: its *realm* (URL) and *certificate* (PEM)."""

    name: ClassVar[str] = "image-syncer-test-tokens"
    service: ClassVar[str] = "docker-registry"

    realm: str
    certificate: Path


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """The rights of a token: *access* maps a resource (`repository:app`) to actions; *subject* None is anonymous."""

    subject: str | None
    service: str
    access: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def allows(self, resource: str, action: str) -> bool:
        """Whether the token grants *action* on *resource*."""
        return action in self.access.get(resource, frozenset())


class TokenService:
    """Answers token requests for *accounts*; *mint* turns a grant and its lifetime in seconds into a token.

    Without *life_told* the response omits the lifetime.
    """

    def __init__(
        self,
        accounts: Accounts,
        service: str,
        mint: Callable[[IssuedToken, float], str],
        *,
        token_seconds: float = 300,
        life_told: bool = True,
    ) -> None:
        self.accounts = accounts
        self._service = service
        self._mint = mint
        self._token_seconds = token_seconds
        self._life_told = life_told

    async def get(self, request: web.Request) -> web.Response:
        """Answer `GET ?service=&scope=`: Basic credentials, or none for an anonymous token."""
        header = request.headers.get("Authorization")
        credentials = parse_basic(header)
        if header is not None and (credentials is None or not self.accounts.knows(*credentials)):
            return _refuse("UNAUTHORIZED", "wrong user name or password")
        if request.query.get("service") != self._service:
            return web.json_response({"details": "unknown service"}, status=400)
        name = credentials[0] if credentials else None
        extra: dict[str, str] = {}
        if name is not None and request.query.get("offline_token") == "true":
            extra["refresh_token"] = self.accounts.users[name].refresh_token
        scopes = [scope for value in request.query.getall("scope", []) for scope in value.split()]
        return self._answer(name, scopes, "token", extra)

    async def post(self, request: web.Request) -> web.Response:
        """Answer `POST` with `grant_type` password or refresh_token."""
        form = await request.post()
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        name = self._identify(fields)
        if name is None:
            return _refuse("UNAUTHORIZED", "the grant is not valid")
        if not fields.get("client_id") or fields.get("service") != self._service:
            return web.json_response({"error": "invalid_request"}, status=400)
        extra: dict[str, str] = {}
        if fields.get("access_type") == "offline" or fields["grant_type"] == "refresh_token":
            extra["refresh_token"] = self.accounts.users[name].refresh_token
        return self._answer(name, fields.get("scope", "").split(), "access_token", extra)

    def grant(self, name: str | None, scopes: Iterable[str]) -> IssuedToken:
        """Return the granted part of *scopes* for *name*; a smaller grant than requested is no error."""
        access: dict[str, frozenset[str]] = {}
        for scope in scopes:
            resource, _, actions = scope.rpartition(":")
            kind, _, repository = resource.partition(":")
            wanted = frozenset(actions.split(","))
            if kind == "registry":
                access[resource] = wanted if name is not None else frozenset()
            elif kind == "repository":
                access[resource] = access.get(resource, frozenset()) | (
                    wanted & self.accounts.allowed(name, repository)
                )
        return IssuedToken(name, self._service, {resource: actions for resource, actions in access.items() if actions})

    def _identify(self, fields: Mapping[str, str]) -> str | None:
        match fields.get("grant_type"):
            case "password":
                name = fields.get("username", "")
                return name if self.accounts.knows(name, fields.get("password", "")) else None
            case "refresh_token":
                return self.accounts.owner_of(fields.get("refresh_token", ""))
            case _:
                return None

    def _answer(self, name: str | None, scopes: Iterable[str], key: str, extra: Mapping[str, str]) -> web.Response:
        token = self._mint(self.grant(name, scopes), self._token_seconds)
        body: dict[str, str | int] = {key: token}
        if self._life_told:
            body["expires_in"] = int(self._token_seconds)
            body["issued_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return web.json_response(body | {name: value for name, value in extra.items() if value})


def _refuse(code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=401)
