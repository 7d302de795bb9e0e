"""The fork's `sync.yaml`: routes that events trigger, a hook with a login, an interval, and an optional broker."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from image_syncer.config.documents.node import DocumentError, MapNode, quoted
from image_syncer.config.documents.problems import Problems
from image_syncer.config.documents.source_file import SourceFile
from image_syncer.config.environment import Substitution
from image_syncer.config.fork.fork_model import (
    BrokerSection,
    ForkFile,
    RabbitSection,
    RouteSection,
    SyncSection,
    normalise_keys,
)
from image_syncer.config.go_tool.auth_file import read_auth_file
from image_syncer.config.model import BasicCredentials, Configuration, ForkSettings, QueueSettings, ServerConfig
from image_syncer.config.native.native_server import parse_host, parse_listen
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.settings import RegistryAccount
from image_syncer.sync.pattern import SourcePattern, TargetTemplate, has_wildcard
from image_syncer.sync.rule import AllTags, Rule, Triggers

_DEFAULT_AUTH_FILE: Final = "./auth.yaml"
_QUEUE_NAME: Final = "rabbitmq"
_BROKER: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def parse_fork(
    document: MapNode,
    file: str,
    *,
    platforms: PlatformFilter,
    environment: Mapping[str, str],
    allow_open: bool,
) -> Configuration:
    """Return the configuration of the fork's file and its auth file; one `ConfigError` with all problems.

    The hook needs user name and password unless *allow_open*. *platforms* of the command line replace the filters of
    the file.
    """
    try:
        document = normalise_keys(document)
    except DocumentError as error:
        raise ConfigError(error.message, file=file, line=error.line, column=error.column, remedy=error.remedy) from None
    config_file = SourceFile(file, document, Substitution(environment, bare_names=False), Problems())
    sections = config_file.validate(ForkFile)
    filters = config_file.attempt(lambda: _platforms(sections.sync), "sync", "filter")
    rules = _rules(sections.registry.reg, platforms or filters or PlatformFilter(), config_file)
    server = config_file.attempt(lambda: _server(sections, config_file, allow_open=allow_open), "auth")
    queues = tuple(_queues(sections.rabbitmq, config_file))
    accounts, warnings = _accounts(sections.sync.file_position.auth, environment, config_file)
    read = () if warnings else (sections.sync.file_position.auth or _DEFAULT_AUTH_FILE,)
    config_file.problems.raise_found()
    files = (*read, *config_file.substitution.files.paths)
    warnings += () if rules else ("registry.reg has no entries: nothing will be copied",)
    return Configuration(
        accounts, rules, warnings, queues=queues, server=server, fork=_settings(sections.sync), files=files
    )


def _rules(routes: tuple[RouteSection, ...], platforms: PlatformFilter, config_file: SourceFile) -> tuple[Rule, ...]:
    """Return a rule for each source, with the targets of all its entries in their order."""
    origins: dict[SourcePattern, str] = {}
    targets: dict[SourcePattern, list[TargetTemplate]] = {}
    for number, route in enumerate(routes):
        place = ("registry", "reg", number)
        source = config_file.attempt(lambda route=route: _source(route), *place)
        wanted = config_file.attempt(lambda route=route: _targets(route), *place, "destinationName")
        if source is not None and wanted is not None:
            origins.setdefault(source, config_file.location(*place))
            targets.setdefault(source, []).extend(wanted)
    return tuple(
        Rule(
            str(source),
            source,
            AllTags(),
            tuple(dict.fromkeys(found)),
            platforms,
            origins[source],
            Triggers(events=True),
        )
        for source, found in targets.items()
    )


def _source(route: RouteSection) -> SourcePattern:
    host = parse_host(route.source_name, "sourceName")
    namespace = route.namespace.strip().strip("/")
    if has_wildcard(namespace) or "{" in namespace:
        raise UsageError(
            f"namespace: {quoted(namespace)}: patterns are not allowed",
            remedy="a namespace includes all repositories below it",
        )
    Repository.of(host, namespace)  # Validate it without the wildcard, so that the error shows the text of the file.
    return SourcePattern.of(host, f"{namespace}/**")


def _targets(route: RouteSection) -> list[TargetTemplate]:
    return [_target(item.strip().rstrip("/")) for item in route.destination_name.split(",")]


def _target(text: str) -> TargetTemplate:
    """Return the target for *text*, a host with an optional path; images keep their own path below it."""
    first, slash, path = text.partition("/")
    host = parse_host(first, "destinationName")
    if slash:
        Repository.of(host, path)  # As in `_source`.
    return TargetTemplate.of(host, f"{path}/{{repository}}" if slash else "{repository}")


def _server(sections: ForkFile, config_file: SourceFile, *, allow_open: bool) -> ServerConfig | None:
    """Return the server; None if its address is invalid, which *config_file* has collected."""
    auth = sections.auth
    password = auth.password.get_secret_value()
    if bool(auth.username) != bool(password):
        given, missing = ("username", "password") if auth.username else ("password", "username")
        raise UsageError(f"auth: a {given} without a {missing}", remedy="give both")
    login = None
    if auth.username:
        login = BasicCredentials(
            config_file.substitute(auth.username, "auth", "username"),
            config_file.substitute(password, "auth", "password"),
        )
    elif not allow_open:
        raise UsageError(
            "auth: no username and password, so the hook would accept unauthenticated requests",
            remedy="give both, or start with --allow-open",
        )
    address = config_file.attempt(lambda: parse_listen(sections.app.port), "app", "port")
    return ServerConfig(*address, login) if address else None


def _platforms(section: SyncSection) -> PlatformFilter:
    return PlatformFilter.parse(section.filter.os_filter_list, section.filter.arch_filter_list)


def _queues(section: RabbitSection, config_file: SourceFile) -> Iterator[QueueSettings]:
    """Yield the queue, if the file has the address of a broker."""
    if not section.info:
        return
    with config_file.collect_at("rabbitmq"):
        if not section.queue_name:
            raise UsageError("rabbitmq: queueName is missing", remedy="name the queue, or leave rabbitmq out")
    urls = [
        config_file.attempt(lambda broker=broker, at=at: _url(broker, at, config_file), "rabbitmq", "info", at)
        for at, broker in enumerate(section.info)
    ]
    known = tuple(url for url in urls if url is not None)
    yield QueueSettings(_QUEUE_NAME, "rabbitmq", known, section.queue_name, origin=config_file.location("rabbitmq"))


def _url(broker: BrokerSection, at: int, config_file: SourceFile) -> str:
    """Return the URL that the fork builds, with the login percent-encoded."""
    if not _BROKER.fullmatch(broker.address):
        raise UsageError("address: not host:port", remedy="such as rabbitmq.example.com:5672, without a scheme")
    password = broker.password.get_secret_value()
    if not broker.username:
        return f"amqp://{broker.address}/"
    filled = config_file.substitute(password, "rabbitmq", "info", at, "password") if password else ""
    return f"amqp://{quote(broker.username, safe='')}:{quote(filled, safe='')}@{broker.address}/"


def _accounts(
    auth_file: str | None, environment: Mapping[str, str], config_file: SourceFile
) -> tuple[tuple[RegistryAccount, ...], tuple[str, ...]]:
    """Return the accounts, and a warning if the default auth file does not exist."""
    path = Path(auth_file or _DEFAULT_AUTH_FILE)
    if auth_file is None and not path.exists():
        return (), (
            f"{_DEFAULT_AUTH_FILE} does not exist: registry access is anonymous, or uses the logins that docker stored",
        )
    with config_file.collect_at("sync", "filePosition", "auth"):
        return read_auth_file(path, environment, config_file.problems, config_file.substitution.files.paths), ()
    return (), ()


def _settings(section: SyncSection) -> ForkSettings:
    files = section.file_position
    return ForkSettings(
        interval_seconds=section.interval * 60.0,
        queue_file=files.images,
        log_file=files.log or None,
        transfers=section.routine_num,
        retries=section.retry_count,
    )
