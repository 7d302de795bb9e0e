"""Who may come in and from where, as frozen values; and the decision whether that may be served at an address. Pure."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from image_syncer.errors import UsageError
from image_syncer.events.dialects import dialect
from image_syncer.events.oidc import Jwt
from image_syncer.events.payload import BODY_LIMIT
from image_syncer.events.signatures import Basic, Bearer, Check

FORK_SOURCE: Final = "images/sync/hook"
"""The source of events that came by the fork's hook. No configured hook can have this name: it holds slashes."""

Login = Basic | Bearer
"""How a caller of our own routes shows who he is."""


@dataclass(frozen=True, slots=True)
class Listen:
    """The address that is listened at. *host* empty means all addresses, a *port* of 0 any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class HookSource:
    """Who notifies us at `/hooks/NAME`: the *kind* of sender, the *registry* it speaks for, and how it shows itself.

    *registry* None is for `plain` alone, which names the registry itself. One of *checks* has to pass; without any,
    everybody is believed. *prefix* is the path before an image's name at `jfrog` and `nexus`, None for the usual one.
    `UsageError` for a kind that does not exist.
    """

    kind: str
    registry: str | None
    checks: tuple[Check, ...] = ()
    prefix: str | None = None

    def __post_init__(self) -> None:
        dialect(self.kind, prefix=self.prefix)
        if self.registry is None and self.kind != "plain":
            raise UsageError(f"a hook of the kind {self.kind!r} needs its registry", remedy="name the registry's host")
        if sum(isinstance(check, Jwt) for check in self.checks) > 1:
            # The keys of one issuer must never pass for those of another.
            raise UsageError("a hook takes the tokens of one issuer", remedy="make a hook for each issuer")


@dataclass(frozen=True, slots=True)
class ForkHook:
    """The fork's routes under `/images/sync/`, with their *login*; None lets everybody in."""

    login: Basic | None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything that the routes have to know.

    Without *logins* our own routes are open. *origins* are those of pages that may act beside the host that was asked,
    such as `https://sync.example.com` where a proxy changes `Host`. *base_path* is what a proxy has put before our
    paths (`/image-syncer`). *patience_seconds* bounds every wait for the backend, *body_seconds* that for a body.
    """

    logins: tuple[Login, ...] = ()
    hooks: Mapping[str, HookSource] = field(default_factory=dict[str, HookSource])
    fork: ForkHook | None = None
    origins: tuple[str, ...] = ()
    base_path: str = ""
    allow_open: bool = False
    body_limit_bytes: int = BODY_LIMIT
    bodies_at_once: int = 64
    body_seconds: float = 10.0
    patience_seconds: float = 10.0


def open_doors(settings: ServerSettings) -> list[str]:
    """Return the routes that everybody may use, `/healthz` and `/readyz` aside."""
    doors = [] if settings.logins else ["the API and the pages"]
    if settings.fork is not None and settings.fork.login is None:
        doors.append(f"/{FORK_SOURCE}")
    return doors + [f"/hooks/{name}" for name, source in settings.hooks.items() if not source.checks]


def check_exposure(listen: Listen, settings: ServerSettings) -> None:
    """Raise `UsageError` where others than this machine could use routes that nothing guards, unless that is wanted."""
    doors = open_doors(settings)
    if doors and not settings.allow_open and not listen.is_loopback:
        raise UsageError(
            f"{listen}: everybody who reaches this address could use {', '.join(doors)}",
            remedy="configure a login or a secret, listen at 127.0.0.1, or say that it is meant to be open",
        )
