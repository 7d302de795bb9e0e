"""User settings about registries, as the registry client uses them; independent of configuration files."""

from collections.abc import Mapping
from typing import Literal, Protocol, Self

from image_syncer.roles.ways import ALL_WAYS, Way
from image_syncer.structs import Struct, field, replace

ThreadUse = Literal["auto", "always", "never"]
"""Whether bodies move in threads: large ones while a core is free, all, or none."""


CloudName = Literal["aws", "gcp", "azure", "aliyun", "tencent", "huawei", "volcengine"]
"""A cloud whose own credentials open its registries."""


class Credential(Struct):
    """A login. With *identity_token* (an OAuth2 refresh token), user name and password are empty.

    *exchange_token* is an access token of Azure, which the registry exchanges for an identity token of its own.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    exchange_token: str = field(default="", repr=False)


class CreateSettings(Struct):
    """Whether and how what a push needs is created at a registry. It is private unless *public*.

    *vendor* is the API that does it; empty: as the registry is recognised. *immutable* forbids that tags move, *scan*
    scans what is pushed; False leaves the vendor's default. *lifecycle* is a policy in the vendor's form.
    """

    vendor: str = ""
    immutable: bool = False
    scan: bool = False
    public: bool = False
    lifecycle: str = ""

    @property
    def options(self) -> frozenset[str]:
        """The names of the settings that differ from their defaults."""
        return frozenset(name for name in ("immutable", "scan", "public", "lifecycle") if getattr(self, name))


class ControlAccess(Struct):
    """Who uses the vendor's own API in place of the registry's login, and the *url* of its server, if not the usual.

    The longest wait for a copy of the vendor is *wait_seconds*; None: it follows from the size of the image.
    """

    credential: Credential | None = None
    url: str = ""
    wait_seconds: float | None = None


class CredentialSource(Protocol):
    """Gives the credential of an account, which may change while the process runs."""

    async def current(self) -> Credential | None:
        """Return the credential to use now, None for anonymous access; `Unauthorized` if it cannot be found."""
        ...

    async def replace(self, refused: Credential | None) -> bool:
        """Look for another credential than *refused*, which the registry does not accept; return whether there is one.

        After a search without result, the next one within a minute returns False at once.
        """
        ...


class RegistryAccount(Struct):
    """How to access repositories under *prefix*: `registry` or `registry/namespace[/...]`, Docker Hub aliases resolved.

    *credential* None means anonymous. *insecure* skips TLS verification, and allows plain HTTP if the registry does not
    speak TLS; *plain_http* uses plain HTTP without trying TLS. *private_network* says whether its redirects and token
    server may use private addresses; None applies the default policy (`address_policy.policy_for_redirects`). *origin*
    is where this was configured (`auth.yaml:3`), for messages. *further* are the same with other logins, used when
    this one is refused or its quota is used up. With *cloud*, the credential is one of that cloud, and the registry
    gets a login that is issued for it; without a credential, the cloud's own tools decide which one is used. *source*
    replaces the credential when it changes or is refused. With *create*, what a push needs is created; *control* says
    with which access. Images reach it in one of these *ways*. With *share_credentials*, the vendor of a target
    gets user and password to copy from here by itself. What is read here and missing
    is fetched from *pulls_from*, a registry or a prefix in the place of *prefix*; empty: nothing is.
    """

    prefix: str
    credential: Credential | None = None
    insecure: bool = False
    origin: str = ""
    private_network: bool | None = None
    plain_http: bool = False
    further: tuple["RegistryAccount", ...] = ()
    cloud: CloudName | None = None
    source: CredentialSource | None = field(default=None, repr=False, compare=False)
    create: CreateSettings | None = None
    control: ControlAccess | None = None
    ways: frozenset[Way] = ALL_WAYS
    share_credentials: bool = False
    pulls_from: str = ""


class HostLimits(Struct):
    """The most concurrent blob transfers and small requests to one registry, and the size of its upload chunks.

    None: the same as for others.
    """

    transfers: int | None = None
    requests: int | None = None
    chunk_bytes: int | None = None


class Timeouts(Struct):
    """Time limits in seconds.

    *connect* and *stall* (nothing sent or received) bound every request. *image* bounds the whole copy of one image;
    None: no bound. *patience* bounds the wait for a registry that throttles, has no quota left or is down; None: the
    defaults of `RetryPolicy` for each of these.
    """

    connect: float = 30.0
    stall: float = 60.0
    image: float | None = None
    patience: float | None = None


class Limits(Struct):
    """Bounds for all requests to registries; durations in seconds, sizes in bytes.

    *transfers* is the most concurrent uploads and the most concurrent downloads at one registry; *host_limits* override
    it by host. *chunk_bytes* is the initial size of upload chunks, and so the distance between the points from which
    an upload can resume. A target's upload slot is released if the source has not answered after *opening_seconds*.
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
    catalogue_pages: int = 10_000
    repositories: int = 1_000_000
    redirects: int = 5
    opening_seconds: float = 10.0
    chunk_bytes: int = 32 * 1024 * 1024
    threads: ThreadUse = "auto"
    host_limits: Mapping[str, HostLimits] = field(default_factory=dict[str, HostLimits])

    def for_host(self, registry: str) -> Self:
        """Return the limits for *registry*."""
        limits = self.host_limits.get(registry, HostLimits())
        return replace(
            self,
            transfers=self.transfers if limits.transfers is None else limits.transfers,
            requests_per_host=self.requests_per_host if limits.requests is None else limits.requests,
        )

    @property
    def patience_seconds(self) -> float:
        """The longest time to the response for a request without a streaming body, beside the finer timeouts."""
        return 2 * (self.connect_seconds + self.stall_seconds)
