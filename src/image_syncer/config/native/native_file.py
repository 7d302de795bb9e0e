"""The native file: `version: 1` with registries, rules, hooks, server, state and queues."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Final, cast, get_args

from image_syncer.config.documents.node import MapNode, Scalar, quoted
from image_syncer.config.documents.problems import Problems
from image_syncer.config.documents.source_file import SourceFile
from image_syncer.config.go_tool.auth_file import parse_prefix
from image_syncer.config.locations import StateSettings
from image_syncer.config.model import Configuration, QueueKind, QueueSettings
from image_syncer.config.native.native_credentials import parse_account
from image_syncer.config.native.native_model import (
    LimitsSection,
    NativeFile,
    RegistrySection,
    StateSection,
    TimeoutsSection,
)
from image_syncer.config.native.native_parts import merge_native
from image_syncer.config.native.native_referrers import merge_sections
from image_syncer.config.native.native_rule_model import DefaultsSection, RuleSection
from image_syncer.config.native.native_rules import parse_rule
from image_syncer.config.native.native_server import parse_hook, parse_queue, parse_server
from image_syncer.config.native.native_transport import (
    parse_bandwidth,
    parse_chunk_sizes,
    parse_mirrors,
    parse_transports,
)
from image_syncer.config.native.native_trust import TrustReader
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import HostLimits, RegistryAccount, Timeouts
from image_syncer.structs import replace
from image_syncer.sync.collisions import find_collisions, find_merges, find_overlaps
from image_syncer.sync.rule import Rule
from image_syncer.sync.rule_trust import NO_TRUST, RuleTrust

_SHORTEST_RETENTION = timedelta(days=1)  # Time in which a redelivered event is recognised.
_SHORTEST_TIMEOUT = timedelta(seconds=1)
_SHOWN_WARNINGS = 20
_BARE_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
ITEMS: Final = ("registries", "rules", "hooks", "queues")
"""Sections of independent items: the others are checked if one is broken."""

_NO_RULES = "no rules: nothing will be copied"
_NO_SENDER = "rules are triggered by events, but the file has neither hooks: nor queues: that receive events"


def parse_native(
    document: MapNode, file: str, *, platforms: PlatformFilter, environment: Mapping[str, str]
) -> Configuration:
    """Return the configuration of the native file; one `ConfigError` with all problems.

    *platforms* of the command line replace those of the rules.
    """
    config_file = merge_native(document, file, environment).replace_variables()
    try:
        return _parse(config_file, platforms)
    except ConfigError as error:
        error.watched = tuple(config_file.substitution.files.paths)
        raise


def _parse(config_file: SourceFile, platforms: PlatformFilter) -> Configuration:
    sections = config_file.validate(NativeFile, items=ITEMS)
    access = _access(sections.registries, config_file)
    limits = _limits(sections.registries, config_file)
    same_as = _same_as(sections.registries, config_file)
    transports = parse_transports(sections.registries, config_file)
    mirrors = parse_mirrors(sections.registries, config_file)
    chunk_sizes = parse_chunk_sizes(sections.registries, config_file)
    reader = TrustReader(config_file)
    trust: dict[str, RuleTrust] = {}
    rules = _rules(len(sections.rules), sections.defaults, platforms, reader, trust)
    hooks = [hook for name, section in sections.hooks.items() if (hook := parse_hook(name, section, config_file))]
    queues = [queue for name, section in sections.queues.items() if (queue := parse_queue(name, section, config_file))]
    server = parse_server(sections.server, config_file) if sections.server else None
    state = _state(sections.state, config_file) if sections.state else StateSettings()
    timeouts = _timeouts(sections.timeouts, config_file)
    bandwidth = config_file.attempt(lambda: parse_bandwidth(sections.bandwidth), "bandwidth")
    config_file.problems.raise_found()
    warnings = () if rules else (_NO_RULES,)
    if any(rule.triggers.events for rule in rules) and not hooks and not queues:
        warnings = (*warnings, _NO_SENDER)
    found = chain(_unreplaced(access), find_merges(rules), find_collisions(rules), find_overlaps(rules))
    warnings += tuple(islice(found, _SHOWN_WARNINGS))
    return Configuration(
        access,
        rules,
        warnings,
        tuple(hooks),
        tuple(queues),
        server,
        state,
        limits={host: limit.copies for host, limit in limits.items() if limit.copies is not None},
        host_limits=_host_limits(limits, chunk_sizes),
        same_as=same_as,
        timeouts=timeouts,
        transports=transports,
        bandwidth=bandwidth,
        mirrors=mirrors,
        trust=trust,
        files=(*config_file.substitution.files.paths, *reader.files),
    )


def _unreplaced(accounts: Iterable[RegistryAccount]) -> Iterator[str]:
    """Yield a warning for each login that reads like a variable of the Go tool's files."""
    for account in accounts:
        for login in (account.credential, *(further.credential for further in account.further)):
            if login is not None and any(map(_BARE_VARIABLE.fullmatch, (login.username, login.password))):
                yield (
                    f"{account.prefix}: a user name or password that begins with $ is used as written "
                    "(write ${NAME} for a variable)"
                )


def parse_native_state(document: MapNode, file: str, environment: Mapping[str, str]) -> StateSettings | None:
    """Return the state of the daemon in the native file, None without `server:`.

    It reads only `version` and `state`, so it needs no other variable and survives problems elsewhere in the file.
    """
    merged = merge_native(document, file, environment)
    server = merged.root.find("server")
    if server is None:
        return None
    config_file = _only(merged, "version", "state").replace_variables()
    section = config_file.validate(NativeFile).state
    state = _state(section, config_file) if section else StateSettings()
    config_file.problems.raise_found()
    return state


def parse_native_rules(document: MapNode, file: str, environment: Mapping[str, str]) -> tuple[Rule, ...]:
    """Return the rules of the native file; one `ConfigError` with all of their problems.

    It reads only `rules` and `defaults`, so it needs none of the secrets of other sections.
    """
    config_file = _only(merge_native(document, file, environment), "version", "rules", "defaults").replace_variables()
    sections = config_file.validate(NativeFile, items=ITEMS)
    rules = _rules(len(sections.rules), sections.defaults, PlatformFilter(), TrustReader(config_file), {})
    config_file.problems.raise_found()
    return rules


def _only(config_file: SourceFile, *names: str) -> SourceFile:
    """Return *config_file* with the sections *names* alone, and without problems."""
    root = config_file.root
    entries = tuple(entry for entry in root.entries if entry.key.text in names)
    return dataclasses.replace(config_file, root=MapNode(entries, root.line, root.column), problems=Problems())


def queue_kinds(document: MapNode, file: str, environment: Mapping[str, str]) -> Iterator[QueueSettings]:
    """Yield the kind and the origin of each queue in the native file, even if other parts of the file are wrong."""
    config_file = merge_native(document, file, environment)
    queues = config_file.root.find("queues")
    for entry in queues.value.entries if queues is not None and isinstance(queues.value, MapNode) else ():
        kind = entry.value.find("kind") if isinstance(entry.value, MapNode) else None
        if kind is not None and isinstance(kind.value, Scalar) and kind.value.text in get_args(QueueKind):
            name = cast("QueueKind", kind.value.text)
            yield QueueSettings(entry.key.text, name, (), "", origin=config_file.location("queues", entry.key.text))


def _access(registries: Mapping[str, RegistrySection | None], config_file: SourceFile) -> tuple[RegistryAccount, ...]:
    found: dict[str, RegistryAccount] = {}
    for key, section in registries.items():
        with config_file.collect_at("registries", key):
            access = parse_account(key, section or RegistrySection(), config_file)
            if found.setdefault(access.prefix, access) is not access:
                first = config_file.relative(found[access.prefix].origin, "registries", key)
                raise UsageError(
                    f"{quoted(key)} is {access.prefix}, which {first} already has", remedy="keep one of them"
                )
    return tuple(found.values())


def _limits(registries: Mapping[str, RegistrySection | None], config_file: SourceFile) -> Mapping[str, LimitsSection]:
    """Return the limits of each registry that has any."""
    limits: dict[str, LimitsSection] = {}
    for key, section in registries.items():
        if section is None or section.limits == LimitsSection():
            continue
        with config_file.collect_at("registries", key, "limits"):
            prefix = parse_prefix(key)
            if "/" in prefix:
                raise UsageError(
                    f"registries.{key}.limits: a limit applies to a whole registry",
                    remedy=f"write it at {prefix.partition('/')[0]}",
                )
            limits[prefix] = section.limits
    return limits


def _host_limits(limits: Mapping[str, LimitsSection], chunk_sizes: Mapping[str, int]) -> Mapping[str, HostLimits]:
    found = {host: HostLimits(limit.transfers, limit.requests) for host, limit in limits.items()}
    return found | {
        host: replace(found.get(host, HostLimits()), chunk_bytes=size) for host, size in chunk_sizes.items()
    }


def _same_as(registries: Mapping[str, RegistrySection | None], config_file: SourceFile) -> Mapping[str, str]:
    """Return the main host name of each registry that has `same_as`."""
    named: dict[str, str] = {}
    for key, section in registries.items():
        if section is None or section.same_as is None:
            continue
        with config_file.collect_at("registries", key, "same_as"):
            host, other = parse_prefix(key), parse_prefix(section.same_as)
            if "/" in host or "/" in other:
                raise UsageError(
                    f"registries.{key}.same_as: a whole registry is the same as another host name of it",
                    remedy="write host names without a namespace",
                )
            if host == other:
                raise UsageError(f"registries.{key}.same_as: this is the same host name")
            named[host] = other
    return {host: _main_name(host, named) for host in named}


def _main_name(host: str, named: Mapping[str, str]) -> str:
    """Return the name at the end of the chain from *host*."""
    seen = [host]
    while (host := named.get(host, host)) not in seen:
        seen.append(host)
    return min(seen[seen.index(host) :])  # A circle has no end; any of its names will do.


def _rules(
    count: int,
    defaults: DefaultsSection,
    platforms: PlatformFilter,
    reader: TrustReader,
    trust: dict[str, RuleTrust],
) -> tuple[Rule, ...]:
    """Return the *count* rules of the file; their gates and attesters are added to *trust*."""
    config_file = reader.config_file
    rules: dict[str, Rule] = {}
    for index in range(count):
        own, number = config_file.item("rules", index, RuleSection), config_file.number("rules", index)
        with config_file.collect_at("rules", number, "name"):
            section = with_defaults(own, defaults)
            rule = parse_rule(section, number, config_file, platforms)
            trust_place, attest_place = (
                ("rules", number, key) if getattr(own, key) is not None else ("defaults", key)
                for key in ("trust", "attest")
            )
            with config_file.collect_at(*(trust_place if section.attest is None else attest_place)):
                found = reader.read(section.trust, section.attest, trust_place, attest_place)
                if found is not NO_TRUST:
                    trust[section.name] = found
            first = rules.setdefault(rule.name, rule) if rule else None
            if first is not rule:
                line = config_file.relative(first.origin, "rules", number) if first else ""
                raise UsageError(
                    f"rules[{number}].name: the rule in {line} is called {quoted(section.name)}, too",
                    remedy="give each rule its own name",
                )
    return tuple(rules.values())


def with_defaults(section: RuleSection, defaults: DefaultsSection) -> RuleSection:
    """Return *section* with the file's *defaults* for the keys that it lacks."""
    if not defaults.model_fields_set:
        return section
    absent = {key: value for key, value in defaults if value is not None and getattr(section, key) is None}
    referrers = merge_sections(section.referrers, defaults.referrers)
    if referrers is not section.referrers:
        absent["referrers"] = referrers
    return section.model_copy(update=absent) if absent else section


def _timeouts(section: TimeoutsSection, config_file: SourceFile) -> Timeouts:
    for key in ("connect", "stall", "image"):
        value: timedelta | None = getattr(section, key)
        with config_file.collect_at("timeouts", key):
            if value is not None and value < _SHORTEST_TIMEOUT:
                raise UsageError(f"timeouts.{key}: shorter than a second")
    image, patience = (None if value is None else value.total_seconds() for value in (section.image, section.patience))
    return Timeouts(section.connect.total_seconds(), section.stall.total_seconds(), image, patience)


def _state(section: StateSection, config_file: SourceFile) -> StateSettings:
    url = path = None
    with config_file.collect_at("state"):
        if section.url is not None and section.path is not None:
            raise UsageError("state: url and path exclude each other", remedy="keep one of them")
    if section.url is not None:
        with config_file.collect_at("state", "url"):
            url = config_file.substitute(section.url, "state", "url")
            if not url.startswith(("postgresql://", "postgres://")):
                raise UsageError(
                    "state.url: not a PostgreSQL address",
                    remedy="postgresql://user@host/database; use path: for a directory",
                )
    if section.path is not None:
        with config_file.collect_at("state", "path"):
            # The daemon and the command line may run in different directories.
            path = str(
                Path(config_file.file_of("state")).parent / config_file.substitute(section.path, "state", "path")
            )
    with config_file.collect_at("state", "keep"):
        if section.keep < _SHORTEST_RETENTION:
            raise UsageError("state.keep: shorter than a day", remedy="write 1d or longer; the default is 30d")
    return StateSettings(url, path, section.keep)
