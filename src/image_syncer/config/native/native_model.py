"""Keys, types and bounds of the native file. `native_file` interprets the values."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from image_syncer.config.model import HookKind, QueueKind
from image_syncer.config.native.native_rule_model import DefaultsSection, RuleSection, Ways
from image_syncer.config.native.native_values import Checked, Duration, Section, Several, Size, Text, Truth, as_list
from image_syncer.registry.settings import CloudName
from image_syncer.registry.vendors.vendor_profile import CreatorName

Secret = Annotated[SecretStr, Field(min_length=1, max_length=65536)]


class LoginSection(Section):
    """User name and password of HTTP Basic authentication."""

    username: Text = Field(description="User name.")
    password: Secret = Field(description="Password, or a variable such as ${REGISTRY_PASSWORD}.")


class LimitsSection(Section):
    """Limits for a registry."""

    copies: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="For the daemon: concurrent copies from or to this registry, over a whole fleet.",
    )
    transfers: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Concurrent blob transfers of one process; default: --proc."
    )
    requests: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Concurrent small requests of one process; default: eight for each transfer."
    )


class ClientCertificateSection(Section):
    """A client certificate: paths of PEM files, the key without a password."""

    certificate: Text = Field(description="Path of the certificate, with its chain.")
    key: Text = Field(description="Path of the private key.")


class BandwidthHoursSection(Section):
    """Bytes per second at certain hours, in place of those of the other hours."""

    up: Size | None = Field(default=None, description="Sent; default: no limit.")
    down: Size | None = Field(default=None, description="Received; default: no limit.")


class BandwidthSection(Section):
    """Bytes per second of one process, at least 128KiB."""

    up: Size | None = Field(default=None, description="Sent; default: no limit.")
    down: Size | None = Field(default=None, description="Received; default: no limit.")
    hours: Annotated[dict[str, BandwidthHoursSection], Field(max_length=100)] = Field(
        default_factory=dict[str, BandwidthHoursSection],
        description="Other limits at hours of local time: 08:00-18:00.",
    )


class RegistryTimeoutsSection(Section):
    """Timeouts of one registry, at least 1s."""

    connect: Duration | None = Field(default=None, description="Time to establish a connection.")
    stall: Duration | None = Field(default=None, description="Longest time without a byte sent or received.")


class CreateSection(Section):
    """What is created at a registry if a push finds no repository or project: private, unless public is set."""

    vendor: CreatorName | None = Field(
        default=None, description="The API that creates it; default: as the registry's host name or its login tells."
    )
    immutable: Truth = Field(default=False, description="Tags must not move.")
    scan: Truth = Field(default=False, description="Scan what is pushed.")
    public: Truth = Field(default=False, description="Let everyone read it.")
    lifecycle: Text | None = Field(default=None, description="Lifecycle policy in the form of the vendor.")


def _without_settings(value: object) -> object:
    """Return the section for `true` and None for `false`, quoted or not as in a variable."""
    match value:
        case True | "true":
            return {}
        case False | "false":
            return None
        case _:
            return value


class ControlSection(Section):
    """Access to the vendor's own API, which creates repositories and imports images."""

    username: Text | None = Field(default=None, description="User name, or id of an access key; not for tokens.")
    password: Secret | None = Field(
        default=None, description="Password, token or secret key; default: the registry's login, or the cloud's own."
    )
    url: Text | None = Field(
        default=None,
        description="https:// address of the API; default: the vendor's. That of an Azure registry at the resource "
        "manager lets it import images.",
    )
    wait: Duration | None = Field(
        default=None, description="Longest wait for an image that the vendor copies; default: 60s and 1s for each 8MiB."
    )


class RegistrySection(Section):
    """Access to a registry, or to a namespace of it."""

    username: Text | None = Field(
        default=None, description="User name; needs a password. Without both, access is anonymous."
    )
    password: Secret | None = Field(
        default=None, description="Password or token; ${NAME} reads an environment variable."
    )
    logins: Annotated[tuple[LoginSection, ...], Field(max_length=100)] = Field(
        default=(), description="Several logins; the next one is used if one is refused or its quota is used up."
    )
    insecure: Truth = Field(
        default=False, description="Do not verify TLS certificates, and allow plain HTTP if the registry has no TLS."
    )
    plain_http: Truth = Field(default=False, description="Use plain HTTP without trying TLS.")
    private_network: Truth | None = Field(
        default=None,
        description="Allow private addresses (10.0.0.0/8, ...) for its storage and token server. Default: allowed if "
        "the registry has one itself, or for a host whose certificate is verified.",
    )
    same_as: Text | None = Field(
        default=None, description="Another host name of the same registry: blobs are mounted between both."
    )
    limits: LimitsSection = Field(default_factory=LimitsSection, description="Limits; only for whole registries.")
    ca: Several | None = Field(default=None, description="PEM files of authorities that are trusted, too.")
    client_certificate: ClientCertificateSection | None = Field(
        default=None, description="Client certificate for the registry itself; certs.d works, too."
    )
    proxy: Secret | None = Field(
        default=None, description="http://, https:// or socks5:// proxy, or none; default: HTTPS_PROXY and its like."
    )
    no_proxy: Several | None = Field(
        default=None, description="Hosts, domains and networks without a proxy; default: NO_PROXY."
    )
    addresses: Several | None = Field(
        default=None, description="IP addresses of the registry, in place of those of the name server."
    )
    timeouts: RegistryTimeoutsSection = Field(
        default_factory=RegistryTimeoutsSection,
        description="Timeouts for this registry; default: timeouts of the file.",
    )
    user_agent: Text | None = Field(default=None, description="User-Agent header of all its requests.")
    headers: Annotated[dict[str, Secret], Field(max_length=50)] = Field(
        default_factory=dict[str, Secret], description="Headers of requests to the registry itself, not to its storage."
    )
    chunk_size: Size | None = Field(
        default=None, description="Largest part of a blob in one upload request, from 1MiB to 1GiB; default: it adapts."
    )
    auth: CloudName | None = Field(
        default=None,
        description="The cloud that issues logins: with the username and password as its access key, or with the "
        "credentials of the environment.",
    )
    create: Annotated[
        CreateSection | None, BeforeValidator(_without_settings, json_schema_input_type=bool | CreateSection)
    ] = Field(
        default=None, description="Create a repository or project that a push finds missing, with these settings."
    )
    control: ControlSection | None = Field(
        default=None, description="Login of the vendor's own API; default: that of the registry."
    )
    pulls_from: Text | None = Field(
        default=None,
        description="registry or registry/prefix from which this registry or namespace fetches what is read and "
        "missing: a pull-through cache that takes pushes, too.",
    )
    share_credentials: Truth = Field(
        default=False, description="Give the login of this source to a target's vendor that imports from here."
    )
    ways: Ways | None = Field(
        default=None,
        description="How images may reach this registry, as in rules, which must allow it too; default: all.",
    )
    bandwidth: BandwidthSection | None = Field(
        default=None, description="Bytes per second to and from this registry; default: no limit."
    )
    mirrors: Several | None = Field(
        default=None, description="registry or registry/prefix, tried first for content that a digest names."
    )


class TimeoutsSection(Section):
    """Timeouts: at least 1s, except patience, which may be 0s."""

    connect: Duration = Field(default=timedelta(seconds=30), description="Time to establish a connection.")
    stall: Duration = Field(default=timedelta(seconds=60), description="Longest time without a byte sent or received.")
    image: Duration | None = Field(default=None, description="Longest time for one image; default: no limit.")
    patience: Duration | None = Field(
        default=None,
        description="Longest wait for a throttled or unavailable registry; default: 10m, 7h for quotas.",
    )


class HeaderSection(Section):
    """A header with an exact value that the sender adds."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,128}$")] = Field(
        default="Authorization", description="Name of the header."
    )
    value: Secret = Field(description="Its exact value.")


class TokenSection(Section):
    """Required claims of a signed token (JWT)."""

    audience: Text = Field(description="Required audience (aud).")
    email: Text | None = Field(default=None, description="Required account; optional only for acr.")
    issuer: Text | None = Field(default=None, description="Required issuer (iss); default for pubsub: Google.")
    keys: Text | None = Field(
        default=None, description="URL of the issuer's JWK set; default: discovered from the issuer."
    )


class HookSection(Section):
    """A webhook, at /hooks/NAME."""

    kind: HookKind = Field(description="Who sends: the product, or the form of its messages.")
    registry: Text | None = Field(default=None, description="The registry that sends the notifications.")
    prefix: Text | dict[str, str] | None = Field(
        default=None,
        description="Path before the image's name; for nexus and jfrog, for the latter also a map by key.",
    )
    topic: Annotated[tuple[Text, ...], BeforeValidator(as_list, json_schema_input_type=str | list[str])] = Field(
        default=(), max_length=100, description="ARNs of the Amazon SNS topics that deliver the notifications."
    )
    secret: Secret | None = Field(default=None, description="Key of the sender's signature.")
    header: HeaderSection | None = Field(default=None, description="Header that the sender adds.")
    basic: LoginSection | None = Field(default=None, description="Login of the sender.")
    url_secret: Annotated[SecretStr, Field(max_length=256)] | None = Field(
        default=None, description="Secret in the URL that the sender calls; at least 32 characters."
    )
    token: TokenSection | None = Field(default=None, description="Required claims of the sender's token (JWT).")
    allow_open: Truth = Field(default=False, description="Accept unauthenticated requests.")


class AuthSection(Section):
    """Logins of the server: one user, and bearer tokens."""

    basic: LoginSection | None = Field(default=None, description="User name and password of HTTP Basic authentication.")
    tokens: Annotated[tuple[Secret, ...], Field(max_length=1000)] = Field(default=(), description="Bearer tokens.")


class ServerSection(Section):
    """The daemon's server."""

    listen: Text = Field(default="127.0.0.1:8080", description="host:port; without a host: all addresses.")
    auth: AuthSection | None = Field(default=None, description="Logins of the server.")
    allow_open: Truth = Field(default=False, description="Accept unauthenticated requests, from other machines, too.")
    hosts: Annotated[tuple[Text, ...], Field(max_length=1000)] = Field(
        default=(), description="Host names by which the server may be requested; default: any, or loopback names."
    )
    drain: Duration = Field(default=timedelta(seconds=30), description="Time for running copies to finish at a stop.")


class StateSection(Section):
    """Location of the daemon's state: a PostgreSQL database, or files in a directory."""

    url: Secret | None = Field(default=None, description="postgresql://user:${PASSWORD}@host/database")
    path: Text | None = Field(default=None, description="Directory; created if it does not exist.")
    keep: Duration = Field(default=timedelta(days=30), description="Retention of events and runs; at least 1d.")


class QueueSection(Section):
    """A queue of a message broker."""

    kind: QueueKind = Field(description="Kind of the broker.")
    urls: Annotated[
        tuple[Secret, ...],
        BeforeValidator(as_list, json_schema_input_type=str | list[str]),
        Field(min_length=1, max_length=100),
    ] = Field(
        description="amqp://user:${PASSWORD}@host:5672/vhost, kafka://, nats://, redis://, sqs://REGION or "
        "pubsub://PROJECT; several are tried in turn."
    )
    queue: Text = Field(
        description="An existing queue; for NATS stream/consumer, for Redis stream/group, for Kafka topic/group, "
        "for Pub/Sub a subscription."
    )
    prefetch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=16, description="Messages that the broker sends ahead, or that one read takes."
    )
    poison: Literal["reject", "drop"] = Field(default="reject", description="What to do with an invalid message.")


def _version(value: object) -> int:
    if value != "1":
        raise ValueError("this image-syncer reads version 1")
    return 1


class NativeFile(Section):
    """The configuration file of image-syncer."""

    version: Annotated[Literal[1], BeforeValidator(_version, json_schema_input_type=Literal[1])] = Field(
        description="Version of the file format: 1."
    )
    registries: dict[str, RegistrySection | None] = Field(
        default_factory=dict[str, RegistrySection | None],
        description="Access by registry or registry/namespace.",
    )
    rules: tuple[Checked[RuleSection], ...] = Field(default=(), description="What to copy, where to, and when.")
    defaults: DefaultsSection = Field(default_factory=DefaultsSection, description="Defaults for rules.")
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection, description="Timeouts.")
    bandwidth: BandwidthSection | None = Field(default=None, description="Bytes per second of all registries together.")
    hooks: dict[str, HookSection] = Field(
        default_factory=dict[str, HookSection], description="Webhooks by name, at /hooks/NAME."
    )
    server: ServerSection | None = Field(default=None, description="The daemon's server.")
    state: StateSection | None = Field(default=None, description="Location of the daemon's state.")
    queues: dict[str, QueueSection] = Field(
        default_factory=dict[str, QueueSection], description="Queues of message brokers that announce pushes, by name."
    )
    include: Several | None = Field(
        default=None,
        description="Files with more sections: paths, patterns such as rules/*.yaml, or directories; relative to this.",
    )
