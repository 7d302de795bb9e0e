"""The daemon's sections of the native file: hooks, queues and the server."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.model import (
    BasicCredentials,
    HeaderProof,
    HmacProof,
    HookKind,
    HookSettings,
    Proof,
    QueueKind,
    QueueSettings,
    ServerConfig,
    UrlSecretProof,
)
from image_syncer.config.native.native_model import HookSection, LoginSection, QueueSection, ServerSection
from image_syncer.config.native.native_token import parse_token
from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.oci.reference import normalise_host

_TOPIC: Final = re.compile(
    r"arn:(?P<partition>aws|aws-cn|aws-us-gov):sns:(?P<region>[a-z0-9-]{1,32}):[0-9]{12}:[\w.-]{1,256}"
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LISTEN: Final = re.compile(r"(?P<host>|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_PORT_LIMIT: Final = 65535
_URL_SECRET_CHARACTERS: Final = 32
_URL_SECRET: Final = re.compile(r"[A-Za-z0-9._~-]+")
_BROKER_SCHEMES: Final[Mapping[QueueKind, tuple[str, ...]]] = {
    "kafka": ("kafka", "kafkas"),
    "nats": ("nats", "tls"),
    "pubsub": ("pubsub",),
    "rabbitmq": ("amqp", "amqps"),
    "redis": ("redis", "rediss"),
    "sqs": ("sqs",),
}
_BROKER_EXAMPLES: Final[Mapping[QueueKind, str]] = {
    "kafka": "kafka://user:password@host:9092",
    "nats": "nats://user:password@host:4222",
    "pubsub": "pubsub://PROJECT",
    "rabbitmq": "amqp://user:password@host:5672/vhost",
    "redis": "redis://user:password@host:6379/0",
    "sqs": "sqs://REGION",
}
_REDIS_PATH: Final = re.compile(r"/?[0-9]{0,4}")
_TWO_PARTS: Final[Mapping[QueueKind, str]] = {
    "kafka": "topic/group",
    "nats": "stream/consumer",
    "redis": "stream/group",
}
_OPTIONS: Final[Mapping[QueueKind, tuple[str, ...]]] = {
    "kafka": ("cafile", "sasl"),
    "nats": ("cafile",),
    "pubsub": (),
    "redis": ("cafile",),
    "sqs": ("endpoint",),
}
_SASL: Final = ("plain", "scram-sha-256", "scram-sha-512")

_KNOWN_REGISTRIES: Final[dict[HookKind, str]] = {"dockerhub": "docker.io", "github": "ghcr.io", "quay": "quay.io"}
_SIGNING: Final[frozenset[HookKind]] = frozenset({"cloudevents", "gitea", "github", "jfrog", "nexus"})
_WITH_PREFIX: Final[frozenset[HookKind]] = frozenset({"jfrog", "nexus"})


def parse_hook(name: str, section: HookSection, config_file: SourceFile) -> HookSettings | None:
    """Return the hook *name*; None if *config_file* has collected errors of it."""

    def make() -> HookSettings:
        _check_name(name, "hook", "its URL is /hooks/NAME")
        registry = _registry(name, section)
        proof = _proof(name, section, config_file)
        prefix = _prefix(name, section, registry)
        topics = _topics(name, section)
        return HookSettings(name, section.kind, registry, proof, config_file.location("hooks", name), prefix, topics)

    return config_file.attempt(make, "hooks", name)


def parse_queue(name: str, section: QueueSection, config_file: SourceFile) -> QueueSettings | None:
    """Return the queue *name*; None if *config_file* has collected errors of it."""

    def make() -> QueueSettings:
        _check_name(name, "queue", "logs show it")
        urls = tuple(
            _broker(section.kind, config_file.substitute(url, "queues", name, "urls", at))
            for at, url in enumerate(section.urls)
        )
        parts = _TWO_PARTS.get(section.kind)
        if parts is not None and not all(section.queue.rpartition("/")):
            raise UsageError(
                f"queues.{name}.queue: {quoted(section.queue)}: not {parts}", remedy="both must exist at the broker"
            )
        origin = config_file.location("queues", name)
        return QueueSettings(name, section.kind, urls, section.queue, section.prefetch, section.poison, origin)

    return config_file.attempt(make, "queues", name)


def parse_server(section: ServerSection, config_file: SourceFile) -> ServerConfig | None:
    """Return the server; None if *config_file* has collected errors of it."""
    login = tokens = None
    auth = section.auth
    if auth is not None:
        basic = auth.basic
        if basic is not None:
            login = config_file.attempt(lambda: _login(basic, config_file, "server", "auth", "basic"), "server", "auth")
        tokens = config_file.attempt(
            lambda: tuple(
                config_file.substitute(one, "server", "auth", "tokens", at) for at, one in enumerate(auth.tokens)
            ),
            "server",
            "auth",
        )

    def make() -> ServerConfig:
        host, port = parse_listen(config_file.substitute(section.listen, "server", "listen"))
        has_login = auth is not None and (auth.basic is not None or bool(auth.tokens))
        if not has_login and not section.allow_open and not is_loopback(host):
            raise UsageError(
                "server: other machines could send unauthenticated requests",
                remedy="add auth: with basic: or tokens:, listen on 127.0.0.1, or set allow_open: true",
            )
        return ServerConfig(
            host, port, login, tokens or (), section.drain.total_seconds(), section.hosts, section.allow_open
        )

    return config_file.attempt(make, "server", "listen")


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`; the empty host of `:8080` is all addresses. `UsageError`."""
    match = _LISTEN.fullmatch(text.strip())
    if not match or int(match["port"]) > _PORT_LIMIT:
        raise UsageError(f"{quoted(text)}: not an address to listen on", remedy="such as 127.0.0.1:8080, or :8080")
    return match["host"].strip("[]"), int(match["port"])


def parse_host(text: str, key: str) -> str:
    """Return the normalised registry *text*, which needs no dot here; `UsageError`, which names *key*."""
    host = text.strip().rstrip("/")
    if "@" in host or "://" in host:
        # The error does not show the text, which may contain a login.
        raise UsageError(f"{key}: not only the name of a registry", remedy="leave scheme and login out")
    if not host:
        raise UsageError(f"{key}: an empty registry name", remedy="remove the extra comma")
    if "/" in host:
        raise UsageError(f"{key}: {quoted(host)}: a registry has no path")
    return normalise_host(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on *host*."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_name(name: str, kind: str, use: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{quoted(name)}: not a valid name for a {kind}; {use}",
            remedy="up to 64 lower-case letters, digits, '.', '_' and '-'; the first is a letter or digit",
        )


def _registry(name: str, section: HookSection) -> str | None:
    text = section.registry or _KNOWN_REGISTRIES.get(section.kind)
    if text is not None:
        return parse_host(text, f"hooks.{name}.registry")
    if section.kind == "plain":
        return None  # The notification names the registry.
    raise UsageError(f"hooks.{name}: registry is missing", remedy="name the registry that sends the notifications")


def _topics(name: str, section: HookSection) -> tuple[str, ...]:
    for topic in section.topic:
        if not _TOPIC.fullmatch(topic):
            raise UsageError(
                f"hooks.{name}.topic: {quoted(topic)}: not the ARN of a topic",
                remedy="such as arn:aws:sns:eu-central-1:123456789012:pushes",
            )
    return section.topic


def _prefix(name: str, section: HookSection, registry: str | None) -> str | Mapping[str, str] | None:
    if section.prefix is None:
        return None
    if registry is None or section.kind not in _WITH_PREFIX:
        raise UsageError(
            f"hooks.{name}.prefix: {section.kind} sends whole names",
            remedy=f"leave it out; only {' and '.join(sorted(_WITH_PREFIX))} need a prefix",
        )
    if isinstance(section.prefix, str):
        return Repository.of(registry, section.prefix.strip("/")).path
    if section.kind != "jfrog":
        raise UsageError(f"hooks.{name}.prefix: {section.kind} has one prefix", remedy="only jfrog takes a map")
    paths = {key: path.strip("/") for key, path in section.prefix.items()}
    return {key: Repository.of(registry, path).path if path else "" for key, path in paths.items()}


def _proof(name: str, section: HookSection, config_file: SourceFile) -> Proof | None:
    """Return how the sender authenticates, None if the file allows unauthenticated requests."""
    place = ("hooks", name)
    proofs = _proofs(section, config_file, place)
    if not proofs and (section.allow_open or section.topic):  # A message of SNS is signed.
        return None
    if section.allow_open or len(proofs) != 1:
        raise UsageError(
            f"hooks.{name}: {'no' if not proofs else 'more than one'} authentication of the sender",
            remedy="set one of secret, header, basic, url_secret and token (with SNS: topic), or allow_open: true",
        )
    (proof,) = proofs
    _check_fits(proof, section.kind, name)
    return proof


def _proofs(section: HookSection, config_file: SourceFile, place: tuple[Step, ...]) -> list[Proof]:
    found: list[Proof] = []
    if section.secret is not None:
        found.append(HmacProof(config_file.substitute(section.secret, *place, "secret")))
    if section.header is not None:
        value = config_file.substitute(section.header.value, *place, "header", "value")
        found.append(HeaderProof(section.header.name, value))
    if section.basic is not None:
        found.append(_login(section.basic, config_file, *place, "basic"))
    if section.url_secret is not None:
        found.append(UrlSecretProof(config_file.substitute(section.url_secret, *place, "url_secret")))
    if section.token is not None:
        found.append(parse_token(section.token, section.kind, (*place, "token"), config_file))
    return found


def _check_fits(proof: Proof, kind: HookKind, name: str) -> None:
    match proof:
        case HmacProof() if kind not in _SIGNING:
            raise UsageError(
                f"hooks.{name}.secret: {kind} does not sign; {', '.join(sorted(_SIGNING))} do",
                remedy="use header, basic or url_secret",
            )
        case UrlSecretProof(secret):
            if len(secret) < _URL_SECRET_CHARACTERS or not _URL_SECRET.fullmatch(secret):
                raise UsageError(
                    f"hooks.{name}.url_secret: at least {_URL_SECRET_CHARACTERS} letters, digits, '-', '_', '.', '~'",
                    remedy="openssl rand -hex 32",
                )
        case _:
            pass


def _login(section: LoginSection, config_file: SourceFile, *place: Step) -> BasicCredentials:
    username = config_file.substitute(section.username, *place, "username")
    if ":" in username:
        raise UsageError("username: HTTP Basic does not allow a colon")
    return BasicCredentials(username, config_file.substitute(section.password, *place, "password"))


def _broker(kind: QueueKind, url: str) -> str:
    """Return *url*; `UsageError`, which does not show it, if it is no URL of a broker."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in _BROKER_SCHEMES[kind] and bool(parts.hostname) and parts.port != 0
        known = known and (kind != "redis" or _REDIS_PATH.fullmatch(parts.path) is not None)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        known, options = False, dict[str, str]()
    if known and kind in _OPTIONS:
        _check_options(kind, options)
    if not known:
        raise UsageError(
            "urls: not the URL of a broker",
            remedy=f"{_BROKER_EXAMPLES[kind]}; percent-encode special characters of a password, such as %40",
        )
    return url


def _check_options(kind: QueueKind, options: Mapping[str, str]) -> None:
    """Raise `UsageError` for an option that a broker of that *kind* does not have."""
    unknown = options.keys() - set(_OPTIONS[kind])
    if unknown:
        known = " and ".join(f"?{option}=" for option in _OPTIONS[kind])
        raise UsageError(f"urls: {quoted(min(unknown))} is no option of {kind}", remedy=f"only {known}")
    if options.get("sasl", _SASL[0]) not in _SASL:
        raise UsageError(f"urls: unsupported mechanism {quoted(options['sasl'])}", remedy=f"sasl={' or '.join(_SASL)}")
