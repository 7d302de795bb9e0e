"""Patterns: sources with wildcards, targets with placeholders, and tag globs."""

import re
from collections.abc import Mapping
from fnmatch import translate
from typing import Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Reference, Repository
from image_syncer.oci.layout_text import DOCKER_ARCHIVE, is_layout, scheme_of, split_layout
from image_syncer.oci.reference import looks_like_host, normalise_host, split_reference
from image_syncer.structs import Struct, field

_ANY_PARTS: Final = "**"
_ANY_TEXT: Final = "*"
_SAMPLE: Final = "x"
_KEEP_TAG: Final = "{tag}"
_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?-]{1,128}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_IN_PATH: Final = frozenset({"registry", "repository"})
_IN_TAG: Final = frozenset({"tag"})


class SourcePattern(Struct):
    """Repositories of one registry: `*` matches any text within a path component, `**` any number of components.

    `quay.io/team/*` matches `quay.io/team/app`; `quay.io/team/**` also matches `quay.io/team` and `quay.io/team/a/b`.
    """

    registry: str
    path: str
    parts: tuple[re.Pattern[str] | None, ...] = field(repr=False, compare=False)
    prefix: str = field(default="", repr=False, compare=False)
    """The text that all matching paths begin with."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern in *text*; `InvalidReference` if it is none, or has no registry.

        The registry is required: without it, `team/**` would mean repositories of Docker Hub.
        """
        host, slash, path = text.partition("/")
        if not slash or not looks_like_host(host):
            raise InvalidReference(f"{text!r}: a pattern names its registry, such as docker.io/library/*")
        return cls.of(host, path)

    @classmethod
    def of(cls, host: str, path: str) -> Self:
        """Return the pattern *path* at the registry *host*."""
        if any(_ANY_PARTS in part and part != _ANY_PARTS for part in path.split("/")):
            raise InvalidReference(f"{f'{host}/{path}'!r}: ** matches whole path components, between slashes")
        if _ANY_TEXT in host:
            raise InvalidReference(f"{host!r}: a registry cannot have a wildcard")
        sample = Repository.of(host, _sample(path))
        if sample.path != _sample(path) and path != _ANY_PARTS:
            path = f"library/{path}"  # Docker Hub's short form; `Repository.of` expanded the sample in the same way.
        parts = tuple(None if part == _ANY_PARTS else re.compile(translate(part)) for part in path.split("/"))
        return cls(sample.registry, path, parts, _prefix(path))

    def matches(self, repository: Repository) -> bool:
        """Whether the pattern matches *repository*; takes time in proportion to its length."""
        if repository.registry != self.registry or not repository.path.startswith(self.prefix):
            return False
        parts = repository.path.split("/")
        reached: set[int] = {0}  # All possible numbers of components matched so far, instead of backtracking.
        for pattern in self.parts:
            if not reached:
                return False
            if pattern is None:
                reached = set(range(min(reached), len(parts) + 1))
            else:
                reached = {count + 1 for count in reached if count < len(parts) and pattern.fullmatch(parts[count])}
        return len(parts) in reached

    @property
    def sample(self) -> Repository:
        """A repository that the pattern matches, to validate targets with."""
        return Repository.of(self.registry, _sample(self.path))

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


class TargetTemplate(Struct):
    """The target of a rule with placeholders for parts of the source.

    *path* may contain `{registry}` and `{repository}` (the whole path at the source), *tag* may contain `{tag}`. The
    location of a layout, which is its *registry*, may contain what *path* may.
    """

    registry: str
    path: str
    tag: str = _KEEP_TAG

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the template in `registry/path[:tag]`; without a tag it keeps the tag of the source."""
        if is_layout(text):
            return cls._parse_layout(text)
        name, tag, digest = split_reference(text)
        if digest is not None:
            # The message leaves out the text before the @, which may be a login.
            raise InvalidReference("a target with an @", remedy="leave the login or the digest out")
        host, slash, path = name.partition("/")
        if not slash or not looks_like_host(host):
            raise InvalidReference(f"{text!r}: a target names its registry, such as registry.example.com/app")
        return cls.of(host, path, _KEEP_TAG if tag is None else tag)

    @classmethod
    def of(cls, host: str, path: str, tag: str = _KEEP_TAG) -> Self:
        """Return the template at the registry *host*."""
        _check_placeholders(path, _IN_PATH)
        _check_placeholders(tag, _IN_TAG)
        return cls(normalise_host(host), path, tag)

    @classmethod
    def _parse_layout(cls, text: str) -> Self:
        """Return the template in `oci:DIR[:NAME][:tag]` and the like."""
        if scheme_of(text) == DOCKER_ARCHIVE:
            raise InvalidReference(f"{text!r}: a docker-archive can only be a source", remedy="write oci-archive:FILE")
        parts = split_layout(text)
        name, tag = parts.name, parts.tag
        if parts.digest is not None:
            raise InvalidReference(f"{text!r}: a target with a digest", remedy="leave it out")
        if not name and tag is not None and set(_PLACEHOLDER.findall(tag)) & _IN_PATH:
            name, tag = tag, None  # What it becomes has slashes.
        _check_placeholders(f"{parts.location}{name}", _IN_PATH)
        _check_placeholders(tag or "", _IN_TAG)
        return cls(parts.location, name, _KEEP_TAG if tag is None else tag)

    def fill(self, source: Reference) -> Reference:
        """Return the target of *source*; `InvalidReference` if that is no name (too long, a port in `{registry}`).

        A source with a digest keeps it, unless the template has a fixed tag.
        """
        known = {"registry": source.repository.registry, "repository": source.repository.path}
        registry = _substitute(self.registry, known) if is_layout(self.registry) else self.registry
        repository = Repository.of(registry, _substitute(self.path, known))
        if source.tag is None:
            return source.in_repository(repository) if _KEEP_TAG in self.tag else repository.tag(self.tag)
        return repository.tag(_substitute(self.tag, {"tag": source.tag}))

    @property
    def renames_all(self) -> bool:
        """Whether all images get the same tag."""
        return _KEEP_TAG not in self.tag

    def __str__(self) -> str:
        if is_layout(self.registry):
            name = ":".join(filter(None, (self.registry, self.path)))
        else:
            name = f"{self.registry}/{self.path}"
        return name if self.tag == _KEEP_TAG else f"{name}:{self.tag}"


class TagGlob(Struct):
    """The tags that *text* matches as a whole: `*` is any text, `?` any character."""

    text: str
    regex: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the glob in *text*; `InvalidReference` if it can match no tag."""
        if not _GLOB.fullmatch(text) or not set(text) & set("*?"):
            raise InvalidReference(f"{text[:200]!r}: not a tag, a glob with * and ?, or a /regular expression/")
        return cls(text, re.compile(translate(text)))

    def matches(self, tag: str) -> bool:
        """Whether the glob matches the whole *tag*."""
        return self.regex.fullmatch(tag) is not None

    def __str__(self) -> str:
        return self.text


def has_wildcard(text: str) -> bool:
    """Whether *text* is a pattern of repositories and not the name of one."""
    return _ANY_TEXT in text


def _sample(path: str) -> str:
    return path.replace(_ANY_PARTS, _SAMPLE).replace(_ANY_TEXT, _SAMPLE)


def _prefix(path: str) -> str:
    """Return the text before the first wildcard; the slash before `**` may be missing from a matching path."""
    return path.partition(_ANY_TEXT)[0].removesuffix("/")


def _check_placeholders(text: str, known: frozenset[str]) -> None:
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            allowed = " and ".join(f"{{{name}}}" for name in sorted(known))
            raise InvalidReference(f"'{{{name[:40]}}}' is not allowed here; allowed: {allowed}")


def _substitute(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
