"""What configuration files come down to, whatever their dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from image_syncer.registry.settings import HostLimits, RegistryAccount, Timeouts
from image_syncer.sync.rule import Rule, Schedule

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
"""Who notifies us: each kind has its own headers and body."""


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A user name and its password, as a caller sends them by HTTP Basic."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HmacProof:
    """The sender signs the body with *secret*; the kind of the hook says how."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeaderProof:
    """The sender puts *value*, word for word, into the header *name*."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UrlSecretProof:
    """The sender knows *secret* as a part of the address that it calls, since it can do nothing better."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The sender shows a JWT that *issuer* signed, made for *audience*, and of the account *email* where not None.

    *issuer* None is Google. *keys* is the address of the issuer's keys; None where it is known or can be asked for.
    """

    audience: str
    email: str | None = None
    issuer: str | None = None
    keys: str | None = None


Proof = BasicCredentials | HmacProof | HeaderProof | UrlSecretProof | TokenClaims
"""How a sender shows that it is the one."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """One source of notifications, at `/hooks/NAME`.

    *registry* is the registry whose pushes it tells, None where the notification itself names it (`plain`). *proof*
    None: everybody is believed, since the file says `allow_open`. *prefix* is the path before an image's name, which
    `jfrog` and `nexus` do not tell; None for their usual one.
    """

    name: str
    kind: HookKind
    registry: str | None
    proof: Proof | None
    origin: str = ""
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the daemon listens, and whom it lets in. *host* empty means all addresses; a *port* of 0 any free one.

    Without *login* and *tokens* everybody is let in: a file can say so only by `allow_open`, or on a loopback address.
    """

    host: str
    port: int
    login: BasicCredentials | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)
    drain_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class StateSettings:
    """Where what we remember is kept: a PostgreSQL *url*, or the directory *path*; both None for the usual place.

    *keep* is how long events and runs are remembered after they are done.
    """

    url: str | None = field(default=None, repr=False)
    path: str | None = None
    keep: timedelta = timedelta(days=30)


QueueKind = Literal["kafka", "nats", "pubsub", "rabbitmq", "redis", "sqs"]
"""A message broker."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A broker's queue that brings `{"Name", "Tag"}` messages, or those of the cloud that it belongs to.

    *urls* are the addresses of one broker, tried in turn. *queue* is `stream/consumer` of NATS, `stream/group` of
    Redis, `topic/group` of Kafka, a subscription of Pub/Sub, and a name or `account/name` of SQS.
    *poison* says what becomes of a message that can not be understood: rejected to where
    the broker keeps dead letters, or logged and dropped.
    """

    name: str
    kind: QueueKind
    urls: tuple[str, ...] = field(repr=False)
    queue: str
    prefetch: int = 16
    poison: Literal["reject", "drop"] = "reject"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """What only the fork's `sync.yaml` has. Paths are relative to the working directory, as there.

    Events wait for the next tick, every *interval_seconds*. *queue_file* is the fork's file of what waited when it was
    stopped; *log_file* None means stderr. *transfers* and *retries* are its `--proc` and `--retries`.
    """

    interval_seconds: float
    queue_file: str
    log_file: str | None
    transfers: int
    retries: int


@dataclass(frozen=True, slots=True)
class RuleSchedule:
    """When the rule *rule* is carried out."""

    rule: str
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Configuration:
    """How to reach registries, what to copy and when, and what a person should know about the files (*warnings*).

    What a dialect does not have is None or empty: only a file for the daemon has a *server*, only the fork's *fork*.
    *limits* bounds by registry how many copies run at once that read from it or write to it, over a whole fleet.
    *host_limits* bounds by registry how much one process asks of it at once.
    *timeouts* say how long is waited for what. *files* are the others that were read for it.
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
    files: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def schedules(self) -> tuple[RuleSchedule, ...]:
        """The rules that are carried out by the clock, in their order."""
        return tuple(
            RuleSchedule(rule.name, rule.triggers.schedule) for rule in self.rules if rule.triggers.schedule is not None
        )
