"""Selection among the repositories that a rule's pattern matches: names, globs and regular expressions."""

from typing import Final

from image_syncer.errors import InvalidReference
from image_syncer.oci import Repository
from image_syncer.oci.reference import looks_like_host, normalise_host
from image_syncer.structs import Struct
from image_syncer.sync.pattern import SourcePattern
from image_syncer.sync.tag_pattern import TagPattern

RepositoryMatcher = SourcePattern | TagPattern
"""A name or glob of repositories at the rule's registry, or a regular expression on their paths."""


class RepositoryFilter(Struct):
    """The repositories that match any of *include* (all if it is empty) and none of *exclude*."""

    include: tuple[RepositoryMatcher, ...] = ()
    exclude: tuple[RepositoryMatcher, ...] = ()

    def wants(self, repository: Repository) -> bool:
        """Whether the filter selects *repository*."""
        if any(_matches(matcher, repository) for matcher in self.exclude):
            return False
        return not self.include or any(_matches(matcher, repository) for matcher in self.include)


ALL_REPOSITORIES: Final = RepositoryFilter()


def parse_repository_matcher(text: str, registry: str) -> RepositoryMatcher:
    """Return the matcher in *text*: `team/app`, `team/**` or `/regular expression/`; `InvalidReference`.

    The path may follow the name of the *registry*, and of no other one.
    """
    if text.startswith("/") and text.endswith("/") and len(text) > len("//"):
        return TagPattern.parse(text[1:-1])
    host, slash, path = text.partition("/")
    if slash and looks_like_host(host):
        if normalise_host(host) != registry:
            raise InvalidReference(f"{text!r}: the source of the rule is at {registry}")
        return SourcePattern.of(registry, path)
    return SourcePattern.of(registry, text)


def _matches(matcher: RepositoryMatcher, repository: Repository) -> bool:
    return matcher.matches(repository) if isinstance(matcher, SourcePattern) else matcher.matches(repository.path)
