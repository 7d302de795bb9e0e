"""Patterns: sources with wildcards, targets with placeholders, and tag globs."""

import re
from fnmatch import translate
from typing import Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.oci.layout_text import DOCKER_ARCHIVE, is_layout, scheme_of, split_layout
from image_syncer.oci.reference import looks_like_host, normalise_host, split_reference
from image_syncer.structs import Struct, field
from image_syncer.sync.naming import KEEP_NAMES, Naming

_ANY_PARTS: Final = "**"
_ANY_TEXT: Final = "*"
_SAMPLE: Final = "x"
_KEEP_TAG: Final = "{tag}"
_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?-]{1,128}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_WITH_SLASH: Final = re.compile(r"\{(?P<name>[^{}]*)\}(?P<slash>/?)")
_IN_PATH: Final = frozenset({"registry", "registry_path", "repository", "namespace", "name", "digest_short", "date"})
_IN_TAG: Final = frozenset({"tag", "name", "digest_short", "date"})
_OF_PATH: Final = frozenset({"repository", "namespace", "name"})
_SHORT_DIGEST: Final = 12
_SHOWN: Final = 300
_NO_COMPONENT: Final = re.compile(r"[^a-z0-9]+")


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
            raise InvalidReference(f"{text[:_SHOWN]!r}: a pattern names its registry, such as docker.io/library/*")
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

    *path* may contain `{registry}`, `{registry_path}` (also with a port a legal component), `{repository}` (the whole
    path), `{namespace}` and `{name}` (all components but the last, and the last one). *tag* may contain `{tag}` and
    `{name}`. Both may contain `{digest_short}` and `{date}`. The rule's `Naming` changes path and tag first.
    The location of a layout, which is its *registry*, may contain what *path* may.
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
            raise InvalidReference(f"{text[:_SHOWN]!r}: a target names its registry, such as registry.example.com/app")
        return cls.of(host, path, _KEEP_TAG if tag is None else tag)

    @classmethod
    def of(cls, host: str, path: str, tag: str = _KEEP_TAG) -> Self:
        """Return the template at the registry *host*."""
        _check_placeholders(path, _IN_PATH)
        _check_placeholders(tag, _IN_TAG)
        _check_braces(path)
        _check_braces(tag)
        return cls(normalise_host(host), path, tag)

    @classmethod
    def _parse_layout(cls, text: str) -> Self:
        """Return the template in `oci:DIR[:NAME][:tag]` and the like."""
        if scheme_of(text) == DOCKER_ARCHIVE:
            raise InvalidReference(
                f"{text[:_SHOWN]!r}: a docker-archive can only be a source", remedy="write oci-archive:FILE"
            )
        parts = split_layout(text)
        name, tag = parts.name, parts.tag
        if parts.digest is not None:
            raise InvalidReference(f"{text[:_SHOWN]!r}: a target with a digest", remedy="leave it out")
        if not name and tag is not None and set(_PLACEHOLDER.findall(tag)) & (_IN_PATH - _IN_TAG):
            name, tag = tag, None  # What it becomes has slashes.
        _check_placeholders(f"{parts.location}{name}", _IN_PATH)
        _check_placeholders(tag or "", _IN_TAG)
        return cls(parts.location, name, _KEEP_TAG if tag is None else tag)

    def fill(
        self,
        source: Reference,
        naming: Naming = KEEP_NAMES,
        *,
        digest: Digest | None = None,
        date: str = "",
        known: dict[Repository, Repository] | None = None,
    ) -> Reference:
        """Return the target of *source*; `InvalidReference` if that is no name (too long, a port in `{registry}`).

        A source with a digest keeps it, unless the template has a fixed tag. *digest* is that of a source with a tag,
        *date* the date of the run. *known* keeps the target repository of each source repository between calls that
        differ in the source alone.
        """
        values = _Values(source, naming, source.digest or digest, date)
        repository = None if known is None else known.get(source.repository)
        if repository is None:
            repository = self._repository(values)
            if known is not None and not self.needs_digest:
                known[source.repository] = repository
        if source.tag is None and _KEEP_TAG in self.tag:
            return source.in_repository(repository)
        if source.tag is not None and self.tag == _KEEP_TAG:
            return repository.tag(naming.tag(source.tag))
        return repository.tag(values.substitute(self.tag))

    def _repository(self, values: "_Values") -> Repository:
        registry = self.registry
        if is_layout(registry):
            registry = values.substitute(registry)
            if registry.split("/").count("..") > self.registry.split("/").count(".."):
                raise InvalidReference(f"{registry!r}: the name of the source leads out of its directory")
        try:
            return Repository.of(registry, values.substitute(self.path))
        except InvalidReference as error:
            if "{registry}" in self.path and ":" in values.source.repository.registry and error.remedy is None:
                raise InvalidReference(error.message, remedy="a path has no port: write {registry_path}") from None
            raise

    @property
    def renames_all(self) -> bool:
        """Whether all images of a repository get the same tag."""
        return self.placeholders.isdisjoint({"tag", "digest_short"})

    @property
    def needs_digest(self) -> bool:
        """Whether the name of the target depends on the digest of the source."""
        return "digest_short" in self.placeholders

    @property
    def is_dated(self) -> bool:
        """Whether the name of the target depends on the day of the run."""
        return "date" in self.placeholders

    @property
    def uses_path(self) -> bool:
        """Whether the name of the target depends on the path of the source."""
        return not _OF_PATH.isdisjoint(self.placeholders)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of all placeholders."""
        return frozenset(_PLACEHOLDER.findall(f"{self.registry}/{self.path}:{self.tag}"))

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
            *others, last = (f"{{{each}}}" for each in sorted(known))
            raise InvalidReference(f"'{{{name[:40]}}}' is not allowed here; allowed: {', '.join(others)} and {last}")


def _check_braces(text: str) -> None:
    if set(_PLACEHOLDER.sub("", text)) & set("{}"):
        raise InvalidReference(
            f"{text[:200]!r}: a brace that belongs to no placeholder",
            remedy="a placeholder is a name in one pair of braces, such as {repository}",
        )


class _Values(Struct):
    """The values of placeholders for *source*."""

    source: Reference
    naming: Naming
    digest: Digest | None
    date: str

    def substitute(self, text: str) -> str:
        """Return *text* with the values of its placeholders; `InvalidReference` if one is not known."""

        def replace(match: re.Match[str]) -> str:
            value = self._value(match["name"])
            if value is None:
                raise InvalidReference(f"{text[:_SHOWN]!r}: the value of {{{match['name']}}} is not known here")
            return f"{value}{match['slash']}" if value else ""  # Without a namespace there is no slash after it.

        return _WITH_SLASH.sub(replace, text)

    def _value(self, name: str) -> str | None:
        repository = self.source.repository
        match name:
            case "registry":
                return repository.registry
            case "registry_path":
                return _NO_COMPONENT.sub(_joiner, repository.registry).strip("-._")
            case "tag":
                return None if self.source.tag is None else self.naming.tag(self.source.tag)
            case "digest_short":
                return None if self.digest is None else self.digest.encoded[:_SHORT_DIGEST]
            case "date":
                return self.date or None
            case _:
                path = self.naming.path(repository.path)
                namespace, _, last = path.rpartition("/")
                return {"repository": path, "namespace": namespace, "name": last}[name]


def _joiner(match: re.Match[str]) -> str:
    return match[0] if match[0] in {".", "-", "_"} else "-"
