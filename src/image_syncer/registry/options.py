"""What a user configures about registries, as the registry client wants it. Knows nothing of files."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A login. With *identity_token* (an OAuth2 refresh token) user name and password stay empty."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach what lies under *prefix*: `registry` or `registry/namespace[/...]`, Docker Hub's aliases resolved.

    *credential* None means anonymous. *insecure* skips the verification of TLS and allows plain HTTP where no TLS is
    spoken. *origin* says where this was written (`auth.yaml:3`), for messages.
    """

    prefix: str
    credential: Credential | None = None
    insecure: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of every conversation with a registry; durations in seconds, sizes in bytes."""

    requests_per_host: int = 32
    transfers: int = 5
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    token_bytes: int = 1024 * 1024
    error_bytes: int = 64 * 1024
    tag_page_bytes: int = 16 * 1024 * 1024
    tag_pages: int = 1_000
    tags: int = 200_000
    redirects: int = 5

    @property
    def patience_seconds(self) -> float:
        """The longest that a request without a streaming body may take to its answer, beside the finer time-outs."""
        return 2 * (self.connect_seconds + self.stall_seconds)
