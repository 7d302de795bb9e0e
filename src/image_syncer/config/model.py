"""The configuration, independent of the dialect of its file."""

from collections.abc import Mapping
from typing import Literal

from image_syncer.config.locations import StateSettings
from image_syncer.registry.settings import HostLimits, RegistryAccount, Timeouts
from image_syncer.registry.transport_settings import Bandwidth, TransportSettings
from image_syncer.structs import Struct, field
from image_syncer.sync.rule import Rule, Schedule
from image_syncer.sync.rule_trust import RuleTrust

HookKind = Literal[
    "acr",
    "alibaba",
    "cloudevents",
    "distribution",
    "dockerhub",
    "ecr",
    "gitea",
    "github",
    "gitlab",
    "harbor",
    "huawei",
    "jfrog",
    "nexus",
    "plain",
    "pubsub",
    "quay",
    "tencent",
    "zot",
]
"""Kind of a webhook sender: each kind has its own headers and body."""


class BasicCredentials(Struct):
    """User name and password of HTTP Basic authentication."""

    username: str
    password: str = field(repr=False)


class HmacProof(Struct):
    """The sender signs the body with *secret*; the kind of the hook defines the algorithm."""

    secret: str = field(repr=False)


class HeaderProof(Struct):
    """The sender adds the header *name* with exactly *value*."""

    name: str
    value: str = field(repr=False)


class UrlSecretProof(Struct):
    """The sender calls a URL that contains *secret*, for senders without any better proof."""

    secret: str = field(repr=False)


class TokenClaims(Struct):
    """The sender adds a JWT signed by *issuer* for *audience*, and for the account *email* unless that is None.

    *issuer* None is Google. *keys* is the URL of the issuer's keys; None if it is known or can be discovered.
    """

    audience: str
    email: str | None = None
    issuer: str | None = None
    keys: str | None = None


Proof = BasicCredentials | HmacProof | HeaderProof | UrlSecretProof | TokenClaims
"""How a sender authenticates."""


class HookSettings(Struct):
    """One webhook, at `/hooks/NAME`.

    *registry* is the registry that notifies; None if the notification names it (`plain`). *proof* None accepts
    unauthenticated requests (`allow_open`). *prefix* is the path before an image's name, which `jfrog` and `nexus`
    leave out; None for their default. *topics* are the ARNs of Amazon SNS whose signed messages are accepted.
    """

    name: str
    kind: HookKind
    registry: str | None
    proof: Proof | None
    origin: str = ""
    prefix: str | Mapping[str, str] | None = None
    topics: tuple[str, ...] = ()


class ServerConfig(Struct):
    """Address and logins of the daemon's server. An empty *host* is all addresses, the *port* 0 a free one.

    Without *login* and *tokens* the server accepts unauthenticated requests; a file needs `allow_open` or a loopback
    address for that. *hosts* are the host names that requests may ask for; empty: any, or only those of loopback if the
    server listens there without logins.
    """

    host: str
    port: int
    login: BasicCredentials | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)
    drain_seconds: float = 30.0
    hosts: tuple[str, ...] = ()
    allow_open: bool = False


QueueKind = Literal["kafka", "nats", "pubsub", "rabbitmq", "redis", "sqs"]
"""A message broker."""


class QueueSettings(Struct):
    """A queue of a message broker with `{"Name", "Tag"}` messages, or with the messages of its cloud.

    *urls* are the addresses of one broker, tried in turn. *queue* is `stream/consumer` for NATS, `stream/group` for
    Redis, `topic/group` for Kafka, a subscription for Pub/Sub, and a name or `account/name` for SQS. *poison*: reject
    an invalid message to the dead letters of the broker, or log and drop it.
    """

    name: str
    kind: QueueKind
    urls: tuple[str, ...] = field(repr=False)
    queue: str
    prefetch: int = 16
    poison: Literal["reject", "drop"] = "reject"
    origin: str = ""


class ForkSettings(Struct):
    """Settings that only the fork's `sync.yaml` has. As in the fork, paths are relative to the working directory.

    Events wait for the next tick, every *interval_seconds*. *queue_file* is the fork's file of pending events;
    *log_file* None means stderr. *transfers* and *retries* are its `--proc` and `--retries`.
    """

    interval_seconds: float
    queue_file: str
    log_file: str | None
    transfers: int
    retries: int


class RuleSchedule(Struct):
    """The schedule of the rule called *rule*."""

    rule: str
    schedule: Schedule


class Configuration(Struct):
    """Registry accounts, rules with their triggers, and *warnings* about the files.

    A part that a dialect lacks is None or empty: only a file for the daemon has a *server*, only the fork's *fork*.
    *limits* has the concurrent copies by registry (source or target), for a whole fleet.
    *host_limits* bounds by registry how much one process asks of it at once.
    *same_as* maps further host names of one registry to its main name.
    *timeouts* say how long is waited for what, *transports* how single registries are reached,
    *bandwidth* how much one process moves.
    *mirrors* have the same content as a registry, by its name.
    *files* are the others that were read for it.
    *trust* has the gates and attesters of rules by their names.
    """

    accounts: tuple[RegistryAccount, ...]
    rules: tuple[Rule, ...]
    warnings: tuple[str, ...] = ()
    hooks: tuple[HookSettings, ...] = ()
    queues: tuple[QueueSettings, ...] = ()
    server: ServerConfig | None = None
    state: StateSettings = field(default_factory=StateSettings)
    fork: ForkSettings | None = None
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    host_limits: Mapping[str, HostLimits] = field(default_factory=dict[str, HostLimits])
    same_as: Mapping[str, str] = field(default_factory=dict[str, str])
    files: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    transports: Mapping[str, TransportSettings] = field(default_factory=dict[str, TransportSettings])
    bandwidth: Bandwidth | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    trust: Mapping[str, RuleTrust] = field(default_factory=dict[str, RuleTrust])

    @property
    def schedules(self) -> tuple[RuleSchedule, ...]:
        """The schedules of the rules, in their order."""
        return tuple(
            RuleSchedule(rule.name, rule.triggers.schedule) for rule in self.rules if rule.triggers.schedule is not None
        )
