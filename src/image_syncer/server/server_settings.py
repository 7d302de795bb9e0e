"""Settings of the server as frozen values, and whether an address may serve them. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from image_syncer.errors import UsageError
from image_syncer.events.dialects import dialect
from image_syncer.events.dialects.jfrog import Prefix
from image_syncer.events.oidc import Jwt
from image_syncer.events.payload import BODY_LIMIT
from image_syncer.events.signatures import Basic, Bearer, Check

FORK_SOURCE: Final = "images/sync/hook"
"""The source of events from the fork's hook. No configured webhook has this name: it contains slashes."""

Login = Basic | Bearer
"""How a caller of the API and the pages authenticates."""


@dataclass(frozen=True, slots=True)
class Listen:
    """The address to listen on. An empty *host* means all addresses, *port* 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class HookSource:
    """A sender of webhooks at `/hooks/NAME`: its *kind*, the *registry* it reports for, and how it authenticates.

    *registry* is None only for `plain`, whose messages name the registry. One of *checks* has to pass; without any
    the source accepts unauthenticated requests. *prefix* is the path before an image's name at `jfrog` and `nexus`,
    None for the usual one. With *topics* (ARNs) it accepts messages of Amazon SNS that are signed and from one of them.
    *allow_open*: the operator decided that other machines may use it without authentication.
    `UsageError` for an unknown kind.
    """

    kind: str
    registry: str | None
    checks: tuple[Check, ...] = ()
    prefix: Prefix = None
    topics: tuple[str, ...] = ()
    allow_open: bool = False

    def __post_init__(self) -> None:
        dialect(self.kind, prefix=self.prefix)
        if self.registry is None and self.kind != "plain":
            raise UsageError(f"a hook of the kind {self.kind!r} needs its registry", remedy="name the registry's host")
        if sum(isinstance(check, Jwt) for check in self.checks) > 1:
            # The keys of one issuer must never verify tokens of another.
            raise UsageError("a hook accepts tokens of one issuer only", remedy="make a hook for each issuer")


@dataclass(frozen=True, slots=True)
class ForkHook:
    """The fork's routes under `/images/sync/`, with their *login*; None accepts unauthenticated requests."""

    login: Basic | None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the routes.

    Without *logins* the API and the pages are open. *origins* are further origins whose pages may send actions, such
    as `https://sync.example.com` behind a proxy that changes `Host`. *base_path* is the prefix that a proxy puts
    before all paths (`/image-syncer`). *hosts* are the host names that requests may ask for; empty: see
    `allowed_hosts`. *patience_seconds* bounds every wait for the backend, *body_seconds* the wait
    for a body.
    """

    logins: tuple[Login, ...] = ()
    hooks: Mapping[str, HookSource] = field(default_factory=dict[str, HookSource])
    fork: ForkHook | None = None
    origins: tuple[str, ...] = ()
    base_path: str = ""
    allow_open: bool = False
    hosts: tuple[str, ...] = ()
    body_limit_bytes: int = BODY_LIMIT
    bodies_at_once: int = 64
    body_seconds: float = 10.0
    patience_seconds: float = 10.0


def open_routes(settings: ServerSettings) -> list[str]:
    """Return the routes without authentication, without probes and webhooks that the file opened by `allow_open`."""
    routes = [] if settings.logins else ["the API and the pages"]
    if settings.fork is not None and settings.fork.login is None:
        routes.append(f"/{FORK_SOURCE}")
    return routes + [
        f"/hooks/{name}"
        for name, source in settings.hooks.items()
        if not (source.checks or source.topics or source.allow_open)
    ]


def check_exposure(listen: Listen, settings: ServerSettings) -> None:
    """Raise `UsageError` if other machines could use open routes and the settings do not allow that."""
    routes = open_routes(settings)
    if routes and not settings.allow_open and not listen.is_loopback:
        raise UsageError(
            f"{listen}: other machines could use {', '.join(routes)} without authentication",
            remedy="configure a login or a secret, listen on 127.0.0.1, or pass --allow-open",
        )


def allowed_hosts(listen: Listen, settings: ServerSettings) -> tuple[str, ...]:
    """Return the host names that requests may ask for; empty for any.

    A page whose host name its owner rebinds to a loopback address is of the same origin as the server, so a browser
    lets it read and act. Without logins only its host name distinguishes it from the pages of this server.
    """
    if settings.hosts:
        return settings.hosts
    is_guarded = not listen.is_loopback or settings.allow_open or not open_routes(settings)
    return () if is_guarded else ("localhost", listen.host)


def is_allowed_host(header: str | None, hosts: Sequence[str]) -> bool:
    """Whether a request with this `Host` is for one of *hosts*; a loopback address and names below `localhost` are.

    A request without one comes from no browser.
    """
    if not hosts or header is None:
        return True
    try:
        name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return name in {host.lower() for host in hosts} or name.endswith(".localhost") or Listen(name, 0).is_loopback
