"""The registries that a configuration names, as operators may see them."""

from image_syncer.daemon.event_recorder import LiveConfig
from image_syncer.server.backend import RegistryView
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.rule import RuleTarget


def named_registries(book: LiveConfig) -> list[RegistryView]:
    """Return the registries that *book* names, in the order of their hosts; of logins that they exist."""
    rules, options = book.rules, book.options
    sources = {rule.source.registry for rule in rules}
    targets = {_registry(target) for rule in rules for target in rule.targets}
    access = {entry.prefix: entry for entry in options.access}
    hosts = sources | targets | {prefix.partition("/")[0] for prefix in access}
    return [
        RegistryView(
            host,
            host in sources,
            host in targets,
            sorted(prefix for prefix, entry in access.items() if _is_at(prefix, host) and entry.credential),
            any(entry.insecure for prefix, entry in access.items() if _is_at(prefix, host)),
            options.limits.for_host(host).requests_per_host,
            options.limits.for_host(host).transfers,
            book.copy_limits.get(host),
        )
        for host in sorted(hosts)
    ]


def _registry(target: RuleTarget | TargetTemplate) -> str:
    return target.registry if isinstance(target, TargetTemplate) else target.repository.registry


def _is_at(prefix: str, host: str) -> bool:
    return prefix == host or prefix.startswith(f"{host}/")
