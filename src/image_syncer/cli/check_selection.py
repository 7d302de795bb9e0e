"""Which registries a check covers: those of a configuration, or those named on the command line. Pure."""

from collections.abc import Iterator, Sequence

from image_syncer.cli.references import parse_repository
from image_syncer.errors import InvalidReference, UsageError
from image_syncer.oci import Repository
from image_syncer.oci.layout_text import is_layout
from image_syncer.oci.reference import looks_like_host, normalise_host
from image_syncer.registry.auth.credentials import longest_match
from image_syncer.registry.checks.check_values import RegistryToCheck
from image_syncer.registry.settings import RegistryAccount
from image_syncer.structs import replace
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.naming import Naming
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.rule import Rule, RuleTarget


def named(texts: Sequence[str], *, pushes: bool) -> list[RegistryToCheck]:
    """Return the registries and repositories in *texts*; with *pushes*, pushing to the repositories is checked, too."""
    found = [_named(text, pushes=pushes) for text in texts]
    return list(dict.fromkeys(found))


def _named(text: str, *, pushes: bool) -> RegistryToCheck:
    if "/" not in text and looks_like_host(text):
        try:
            return RegistryToCheck(normalise_host(text))
        except InvalidReference as error:
            raise UsageError(f"{text}: neither a registry nor a repository") from error
    repository = parse_repository(text)
    if repository.is_layout:
        raise UsageError(f"{text}: a layout on disk needs no check", remedy="name a registry")
    return RegistryToCheck(repository.registry, repository, repository if pushes else None)


def of_rules(rules: Sequence[Rule], accounts: Sequence[RegistryAccount]) -> list[RegistryToCheck]:
    """Return one entry for each registry and login that *rules* use, with a repository of each side."""
    found: dict[tuple[str, str], RegistryToCheck] = {}
    for one in _parts(rules):
        account = longest_match(accounts, one.account_repository)
        key = (one.registry, "" if account is None else account.prefix)
        known = found.get(key, RegistryToCheck(one.registry))
        found[key] = replace(
            known,
            source=known.source or one.source,
            target=known.target or one.target,
            needs_catalogue=known.needs_catalogue or one.needs_catalogue,
            has_unknown_target=known.has_unknown_target or one.has_unknown_target,
        )
    return list(found.values())


def select(checks: Sequence[RegistryToCheck], texts: Sequence[str]) -> list[RegistryToCheck]:
    """Return those of *checks* whose registry *texts* name; `UsageError` for a registry that no rule uses."""
    wanted = {_named(text, pushes=False).registry: text for text in texts}
    unused = set(wanted) - {one.registry for one in checks}
    if unused:
        raise UsageError(
            f"{wanted[min(unused)]}: no rule of this configuration uses this registry",
            remedy="leave --config out to check a registry by its name",
        )
    return [one for one in checks if not wanted or one.registry in wanted]


def _parts(rules: Sequence[Rule]) -> Iterator[RegistryToCheck]:
    for rule in rules:
        match rule.source:
            case Repository() if not rule.source.is_layout:
                yield RegistryToCheck(rule.source.registry, rule.source)
            case SourcePattern():
                yield RegistryToCheck(rule.source.registry, needs_catalogue=rule.lists)
            case ImageList() | _:
                pass  # Its images name their registries, which reading the list would tell.
        source = rule.source if isinstance(rule.source, Repository) else None
        for target in rule.targets:
            repository = target.repository if isinstance(target, RuleTarget) else _filled(target, source, rule.naming)
            registry = target.registry if isinstance(target, TargetTemplate) else target.repository.registry
            if not is_layout(registry):
                yield RegistryToCheck(registry, target=repository, has_unknown_target=repository is None)


def _filled(template: TargetTemplate, source: Repository | None, naming: Naming) -> Repository | None:
    """Return the repository of *template* for *source*; None if it follows from what only a run knows."""
    if source is None and template.placeholders - {"tag"}:
        return None
    sample = source or Repository(template.registry, "any")
    try:
        return TargetTemplate(template.registry, template.path).fill(sample.tag("any"), naming).repository
    except InvalidReference:
        return None
