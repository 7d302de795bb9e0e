"""The native file as it is written: keys, types and bounds. What the values mean is decided in `native`."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr

from image_syncer.config.model import HookKind, QueueKind
from image_syncer.config.native.native_values import Duration, Section, Several, Text, Truth, as_list

Secret = Annotated[SecretStr, Field(min_length=1, max_length=65536)]
Trigger = Literal["event"]
_RECHECK: Final = "Do not ask a target again that was found right so long ago at most; 0s: always ask."


class LoginSection(Section):
    """A user name and a password, as HTTP Basic has them."""

    username: Text
    password: Secret


class LimitsSection(Section):
    """How much of a registry is used."""

    copies: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="For the daemon: so many copies at once that read from it or write to it, over a whole fleet.",
    )
    transfers: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="So many blobs at once to it and from it, by one process; --proc otherwise."
    )
    requests: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="So many small requests at once, by one process; eight for each transfer otherwise."
    )


class RegistrySection(Section):
    """How to reach a registry, or a namespace of it."""

    username: Text | None = Field(default=None, description="Login; with a password, or neither for anonymous access.")
    password: Secret | None = Field(
        default=None, description="Password or token; write ${NAME} to take it from a variable."
    )
    logins: Annotated[tuple[LoginSection, ...], Field(max_length=100)] = Field(
        default=(), description="Several logins, used in turn where one is refused or its quota is used up."
    )
    insecure: Truth = Field(
        default=False, description="Do not verify TLS, and allow plain HTTP where no TLS is spoken."
    )
    private_network: Truth | None = Field(
        default=None,
        description="May its storage or its token server have private addresses (10.0.0.0/8, ...)? Left out: where it "
        "has one itself, or names a host whose certificate is verified.",
    )
    limits: LimitsSection = Field(
        default_factory=LimitsSection, description="How much of it is used at most; of whole registries."
    )


class TagsSection(Section):
    """Which tags: names, globs such as `1.2*`, and regular expressions such as `/^v[0-9]+$/`."""

    include: Several | None = Field(default=None, description="Any of these; left out, all tags.")
    exclude: Several | None = Field(default=None, description="None of these.")


def _tags(value: Any) -> Any:
    return {"include": cast("object", value)} if isinstance(value, str | list) else value


Tags = Annotated[TagsSection, BeforeValidator(_tags, json_schema_input_type=str | list[str] | TagsSection)]


class RuleSection(Section):
    """What to copy where, and when."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@:-]*$")]
    source: Text = Field(description="registry/repository; with * (within a part) and ** (any parts) a pattern.")
    targets: Several = Field(description="registry/repository[:tag] with {registry}, {repository} and {tag}.")
    tags: Tags | None = Field(default=None, description="Which tags; left out, all.")
    platforms: Several | None = Field(default=None, description="Keep these only: os/arch or os/arch/variant.")
    every: Duration | None = Field(default=None, description="Carry the rule out again and again: 10m, 1h30m, 7d.")
    cron: Text | None = Field(default=None, description="Carry it out at these times: minute hour day month weekday.")
    timezone: Text | None = Field(
        default=None, description="Time zone of cron, such as Europe/Berlin; UTC if left out."
    )
    jitter: Duration | None = Field(default=None, description="Start later by chance, by up to this long.")
    on: Annotated[
        tuple[Trigger, ...],
        BeforeValidator(as_list, json_schema_input_type=Trigger | list[Trigger]),
    ] = Field(default=(), description="event: a push that a hook or a queue tells of.")
    recheck_targets: Duration | None = Field(default=None, description=_RECHECK)


class DefaultsSection(Section):
    """What holds for every rule that does not say it itself."""

    recheck_targets: Duration | None = Field(default=None, description=_RECHECK)


class TimeoutsSection(Section):
    """How long is waited for what; 1s at least, but for the patience, which may be none (0s)."""

    connect: Duration = Field(default=timedelta(seconds=30), description="Until a connection is there.")
    stall: Duration = Field(default=timedelta(seconds=60), description="Without a byte sent or received.")
    image: Duration | None = Field(default=None, description="What one image may take as a whole; left out, no limit.")
    patience: Duration | None = Field(
        default=None,
        description="How long a registry may make us wait; left out, 10m where it throttles, 7h for a used-up quota.",
    )


class HeaderSection(Section):
    """A header that the sender adds, word for word."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,128}$")] = "Authorization"
    value: Secret


class TokenSection(Section):
    """What a signed token (JWT) must say."""

    audience: Text = Field(description="Whom the token must be for (aud).")
    email: Text | None = Field(default=None, description="Whose it must be; acr alone can do without.")
    issuer: Text | None = Field(default=None, description="Who must have made it (iss); pubsub: Google, if left out.")
    keys: Text | None = Field(default=None, description="Where the issuer's JWK set is; asked of the issuer otherwise.")


class HookSection(Section):
    """A source of notifications, at /hooks/NAME."""

    kind: HookKind
    registry: Text | None = Field(default=None, description="The registry that the notifications are about.")
    prefix: Text | None = Field(default=None, description="The path before the image's name: jfrog and nexus alone.")
    secret: Secret | None = Field(default=None, description="The key that the sender signs with.")
    header: HeaderSection | None = Field(default=None, description="A header that the sender adds.")
    basic: LoginSection | None = Field(default=None, description="The login that the sender uses.")
    url_secret: Annotated[SecretStr, Field(max_length=256)] | None = Field(
        default=None, description="A secret in the address that the sender calls; at least 32 characters."
    )
    token: TokenSection | None = Field(default=None, description="What the token (JWT) of the sender must say.")
    allow_open: Truth = Field(default=False, description="Believe everybody.")


class AuthSection(Section):
    """Who may use the server: this login, and whoever shows one of these tokens."""

    basic: LoginSection | None = None
    tokens: Annotated[tuple[Secret, ...], Field(max_length=1000)] = ()


class ServerSection(Section):
    """The daemon's server."""

    listen: Text = Field(default="127.0.0.1:8080", description="host:port; without a host all addresses.")
    auth: AuthSection | None = None
    allow_open: Truth = Field(default=False, description="Let everybody in, also from other machines.")
    drain: Duration = Field(default=timedelta(seconds=30), description="How long running copies may take to finish.")


class StateSection(Section):
    """Where the daemon keeps what it remembers: in a PostgreSQL, or in the files of a directory."""

    url: Secret | None = Field(default=None, description="postgresql://user:${PASSWORD}@host/database")
    path: Text | None = Field(default=None, description="A directory, which is made if it does not exist.")
    keep: Duration = Field(
        default=timedelta(days=30), description="How long events and runs are remembered: 1d at least."
    )


class QueueSection(Section):
    """A queue of a message broker."""

    kind: QueueKind
    urls: Annotated[
        tuple[Secret, ...],
        BeforeValidator(as_list, json_schema_input_type=str | list[str]),
        Field(min_length=1, max_length=100),
    ] = Field(
        description="amqp://user:${PASSWORD}@host:5672/vhost, kafka://, nats://, redis://, sqs://REGION or "
        "pubsub://PROJECT; several are tried in turn."
    )
    queue: Text = Field(
        description="What must exist: a queue, stream/consumer of NATS, stream/group of Redis, topic/group of Kafka, "
        "a subscription of Pub/Sub."
    )
    prefetch: Annotated[int, Field(ge=1, le=10_000)] = 16
    poison: Literal["reject", "drop"] = Field(default="reject", description="What becomes of a message that is none.")


def _version(value: object) -> int:
    if value != "1":
        raise ValueError("this image-syncer reads version 1")
    return 1


class NativeFile(Section):
    """The configuration file of image-syncer."""

    version: Annotated[Literal[1], BeforeValidator(_version, json_schema_input_type=Literal[1])]
    registries: dict[str, RegistrySection | None] = Field(
        default_factory=dict[str, RegistrySection | None],
        description="registry, or registry/namespace: how to reach what lies there.",
    )
    rules: tuple[RuleSection, ...] = ()
    defaults: DefaultsSection = Field(default_factory=DefaultsSection, description="For all rules.")
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection, description="How long is waited for what.")
    hooks: dict[str, HookSection] = Field(default_factory=dict[str, HookSection])
    server: ServerSection | None = None
    state: StateSection | None = None
    queues: dict[str, QueueSection] = Field(default_factory=dict[str, QueueSection])
