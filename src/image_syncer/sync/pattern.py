"""Names with something left open: sources for many repositories at once, and targets that are filled in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Reference, Repository
from image_syncer.oci.reference import looks_like_host, normalise_host, split_reference

_ANY_PARTS: Final = "**"
_ANY_TEXT: Final = "*"
_SAMPLE: Final = "x"
_KEEP_TAG: Final = "{tag}"
_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?-]{1,128}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_IN_PATH: Final = frozenset({"registry", "repository"})
_IN_TAG: Final = frozenset({"tag"})


@dataclass(frozen=True, slots=True)
class SourcePattern:
    """Repositories of one registry: `*` stands for any text within a part, `**` for any number of parts, also none.

    So `quay.io/team/*` holds `quay.io/team/app`, and `quay.io/team/**` also `quay.io/team` and `quay.io/team/a/b`.
    """

    registry: str
    path: str
    parts: tuple[re.Pattern[str] | None, ...] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of *text*; `InvalidReference`, also where it names no registry.

        The registry must be said: a forgotten one would turn all of `team/**` into a part of Docker Hub.
        """
        host, slash, path = text.partition("/")
        if not slash or not looks_like_host(host):
            raise InvalidReference(f"{text!r}: a pattern names its registry, such as docker.io/library/*")
        return cls.of(host, path)

    @classmethod
    def of(cls, host: str, path: str) -> Self:
        """Return the pattern *path* at the registry *host*, which is one whatever it looks like."""
        if any(_ANY_PARTS in part and part != _ANY_PARTS for part in path.split("/")):
            raise InvalidReference(f"{f'{host}/{path}'!r}: ** stands for whole parts, between slashes")
        if _ANY_TEXT in host:
            raise InvalidReference(f"{host!r}: a registry is named, not matched")
        sample = Repository.of(host, _sample(path))
        if sample.path != _sample(path) and path != _ANY_PARTS:
            path = f"library/{path}"  # Docker Hub's short form, which the sample was given too.
        parts = tuple(None if part == _ANY_PARTS else re.compile(translate(part)) for part in path.split("/"))
        return cls(sample.registry, path, parts)

    def matches(self, repository: Repository) -> bool:
        """Whether *repository* is one of those meant; takes time in proportion to its length."""
        if repository.registry != self.registry:
            return False
        parts = repository.path.split("/")
        reached: set[int] = {0}  # How many parts of the path are used up: all ways are followed at once.
        for pattern in self.parts:
            if not reached:
                return False
            if pattern is None:
                reached = set(range(min(reached), len(parts) + 1))
            else:
                reached = {at + 1 for at in reached if at < len(parts) and pattern.fullmatch(parts[at])}
        return len(parts) in reached

    @property
    def sample(self) -> Repository:
        """A repository as the pattern has it, to try a target with."""
        return Repository.of(self.registry, _sample(self.path))

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True)
class TargetTemplate:
    """Where a rule's images go, with placeholders for what the source is.

    `{registry}` and `{repository}` (the whole path at the source) may stand in *path*, `{tag}` in *tag*.
    """

    registry: str
    path: str
    tag: str = _KEEP_TAG

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the template of `registry/path[:tag]`; without a tag that of the source is kept."""
        name, tag, digest = split_reference(text)
        if digest is not None:
            # What stands before the @ is not shown: people put logins there.
            raise InvalidReference("a target with an @", remedy="leave the login or the digest out")
        host, slash, path = name.partition("/")
        if not slash or not looks_like_host(host):
            raise InvalidReference(f"{text!r}: a target names its registry, such as registry.example.com/app")
        return cls.of(host, path, _KEEP_TAG if tag is None else tag)

    @classmethod
    def of(cls, host: str, path: str, tag: str = _KEEP_TAG) -> Self:
        """Return the template at the registry *host*, which is one whatever it looks like."""
        _check_placeholders(path, _IN_PATH)
        _check_placeholders(tag, _IN_TAG)
        return cls(normalise_host(host), path, tag)

    def fill(self, source: Reference) -> Reference:
        """Return where *source* goes; `InvalidReference` where that is no name (too long, or a port in `{registry}`).

        An image that is named by its digest keeps it, unless the template has a tag of its own.
        """
        known = {"registry": source.repository.registry, "repository": source.repository.path}
        repository = Repository.of(self.registry, _put_in(self.path, known))
        if source.tag is None:
            return source.in_repository(repository) if _KEEP_TAG in self.tag else repository.tag(self.tag)
        return repository.tag(_put_in(self.tag, {"tag": source.tag}))

    @property
    def renames_all(self) -> bool:
        """Whether every image gets the same tag."""
        return _KEEP_TAG not in self.tag

    def __str__(self) -> str:
        name = f"{self.registry}/{self.path}"
        return name if self.tag == _KEEP_TAG else f"{name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class TagGlob:
    """The tags that *text* fits as a whole: `*` is any text, `?` any character."""

    text: str
    regex: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the glob of *text*; `InvalidReference` where it can fit no tag."""
        if not _GLOB.fullmatch(text) or not set(text) & set("*?"):
            raise InvalidReference(f"{text[:200]!r}: not a tag, a glob with * and ?, or a /regular expression/")
        return cls(text, re.compile(translate(text)))

    def __str__(self) -> str:
        return self.text


def has_wildcard(text: str) -> bool:
    """Whether *text* is a pattern of repositories rather than the name of one."""
    return _ANY_TEXT in text


def _sample(path: str) -> str:
    return path.replace(_ANY_PARTS, _SAMPLE).replace(_ANY_TEXT, _SAMPLE)


def _check_placeholders(text: str, known: frozenset[str]) -> None:
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            allowed = " and ".join(f"{{{one}}}" for one in sorted(known))
            raise InvalidReference(f"'{{{name[:40]}}}' has no meaning there; {allowed} may stand there")


def _put_in(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
