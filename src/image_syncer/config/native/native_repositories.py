"""The keys of rules about repositories: which of those that a pattern matches, and whether runs list them."""

from collections.abc import Sequence

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.errors import UsageError
from image_syncer.structs import Struct
from image_syncer.sync.pattern import SourcePattern
from image_syncer.sync.repository_filter import (
    ALL_REPOSITORIES,
    RepositoryFilter,
    RepositoryMatcher,
    parse_repository_matcher,
)
from image_syncer.sync.rule import MAX_REPOSITORIES, Triggers

_KEYS = {"repositories": "repositories", "exclude": "exclude", "list": "list_", "max_repositories": "max_repositories"}


class RepositoryKeys(Struct):
    """The values of `Rule` that the keys about repositories give."""

    repositories: RepositoryFilter = ALL_REPOSITORIES
    lists: bool = False
    max_repositories: int = MAX_REPOSITORIES


NO_KEYS = RepositoryKeys()


def parse_repository_keys(
    section: RuleSection, source: object, triggers: Triggers, place: Sequence[Step], config_file: SourceFile
) -> RepositoryKeys | None:
    """Return the values for the rule of *section* with *source*; None if *config_file* has collected errors of it."""
    if not isinstance(source, SourcePattern):
        for key, name in _KEYS.items():
            if getattr(section, name) is not None:
                with config_file.collect_at(*place, key):
                    raise UsageError(
                        f"{key}: only for a source with a pattern of repositories",
                        remedy="leave it out, or write a pattern such as quay.io/team/**",
                    )
        return NO_KEYS
    include = _matchers(section.repositories, source, (*place, "repositories"), config_file)
    exclude = _matchers(section.exclude, source, (*place, "exclude"), config_file)
    lists = config_file.attempt(lambda: _lists(section, triggers), *place, "list")
    if include is None or exclude is None or lists is None:
        return None
    repositories = RepositoryFilter(include, exclude) if include or exclude else ALL_REPOSITORIES
    return RepositoryKeys(repositories, lists, section.max_repositories or MAX_REPOSITORIES)


def _lists(section: RuleSection, triggers: Triggers) -> bool:
    """Return whether runs of the rule list repositories: unless only events trigger it, or as the rule says."""
    if section.list_ is False and not triggers.events:
        raise UsageError(
            "list: false needs on: event, since the rule would never copy anything",
            remedy="write on: [event], or leave list out",
        )
    if section.list_ is False and triggers.schedule is not None:
        raise UsageError(
            f"list: false with {'every' if section.every is not None else 'cron'}: scheduled runs have to list",
            remedy="leave one of them out",
        )
    return section.list_ or triggers.schedule is not None or not triggers.events


def _matchers(
    texts: Sequence[str] | None, source: SourcePattern, place: Sequence[Step], config_file: SourceFile
) -> tuple[RepositoryMatcher, ...] | None:
    found = [
        config_file.attempt(lambda text=text: _matcher(text, source), *place, at) for at, text in enumerate(texts or ())
    ]
    known = tuple(dict.fromkeys(one for one in found if one is not None))
    return known if None not in found else None


def _matcher(text: str, source: SourcePattern) -> RepositoryMatcher:
    name = text.strip()
    if "@" in name and not name.startswith("/"):
        raise UsageError("a repository cannot have an @", remedy="leave the login or the digest out")
    if "://" in name and not name.startswith("/"):
        raise UsageError(f"{quoted(name.partition('://')[0])}://: not a repository", remedy="leave the scheme out")
    return parse_repository_matcher(name, source.registry)
