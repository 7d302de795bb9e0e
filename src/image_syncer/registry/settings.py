"""What a user configures about registries, as the registry client wants it. Knows nothing of files."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Credential:
    """A login. With *identity_token* (an OAuth2 refresh token) user name and password stay empty."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RegistryAccount:
    """How to reach what lies under *prefix*: `registry` or `registry/namespace[/...]`, Docker Hub's aliases resolved.

    *credential* None means anonymous. *insecure* skips the verification of TLS and allows plain HTTP where no TLS is
    spoken. *private_network* says whether it may lead us (to its storage, its token server) to addresses in a private
    network: None as is the rule (`addresses.reach_from`). *origin* says where this was written (`auth.yaml:3`), for
    messages. *further* are the same with other logins, for when this one is refused or its quota is used up.
    """

    prefix: str
    credential: Credential | None = None
    insecure: bool = False
    origin: str = ""
    private_network: bool | None = None
    further: tuple["RegistryAccount", ...] = ()


@dataclass(frozen=True, slots=True)
class HostLimits:
    """How many blobs and how many small requests one registry gets at once at most; None: as many as any other."""

    transfers: int | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long is waited for what, in seconds.

    *connect* and *stall* (nothing sent or received) bound every request. *image* is what one image may take as a whole,
    None: as long as it takes. *patience* is how long a registry may make us wait that throttles or whose quota is used
    up, or that has gone away; None: as `RetryPolicy` has it for each of these.
    """

    connect: float = 30.0
    stall: float = 60.0
    image: float | None = None
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of every conversation with a registry; durations in seconds, sizes in bytes.

    *host_limits* are those of single registries, by host. *chunk_bytes* of a big blob go with one request at first, and
    so far apart are the places from which its upload can go on. A source that has not begun to answer after
    *opening_seconds* holds no place at the target any longer.
    """

    requests_per_host: int = 32
    transfers: int = 5
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    token_bytes: int = 1024 * 1024
    error_bytes: int = 64 * 1024
    error_seconds: float = 10.0
    tag_page_bytes: int = 16 * 1024 * 1024
    tag_page_values: int = 1_000_000
    tag_pages: int = 1_000
    tags: int = 200_000
    redirects: int = 5
    opening_seconds: float = 10.0
    chunk_bytes: int = 32 * 1024 * 1024
    host_limits: Mapping[str, HostLimits] = field(default_factory=dict[str, HostLimits])

    def for_host(self, registry: str) -> Self:
        """Return the limits that hold for *registry*."""
        ceiling = self.host_limits.get(registry, HostLimits())
        return replace(
            self,
            transfers=self.transfers if ceiling.transfers is None else ceiling.transfers,
            requests_per_host=self.requests_per_host if ceiling.requests is None else ceiling.requests,
        )

    @property
    def patience_seconds(self) -> float:
        """The longest that a request without a streaming body may take to its answer, beside the finer time-outs."""
        return 2 * (self.connect_seconds + self.stall_seconds)
