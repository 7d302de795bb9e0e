"""Repositories and references. Only this module resolves Docker Hub's shorthand."""

import re
from typing import Final, Self, cast

from image_syncer.errors import InvalidReference
from image_syncer.oci.digest import Digest
from image_syncer.oci.layout_text import check_name, is_layout, normalise_location, split_layout
from image_syncer.structs import Struct

DOCKER_HUB: Final = "docker.io"
_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_NAME_LIMIT: Final = 255  # Many clients cap host + "/" + name (distribution-spec, "Pulling manifests").
_SHOWN: Final = 300

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")


def is_tag(text: str) -> bool:
    """Whether *text* is a tag by the grammar of the distribution-spec."""
    return _TAG.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Whether *text* is the path of a repository, without its registry, by the grammar of the distribution-spec."""
    return _PATH.fullmatch(text) is not None


def looks_like_host(component: str) -> bool:
    """Whether a first path component is a registry: it contains a dot or a colon, or is `localhost`."""
    return "." in component or ":" in component or component == "localhost"


def normalise_host(text: str) -> str:
    """Return the canonical spelling of a registry: lower case, and `docker.io` for every alias of Docker Hub."""
    host = text.lower()
    if not _HOST.fullmatch(host):
        raise InvalidReference(
            f"{text[:_SHOWN]!r}: not a registry; write host or host:port, such as registry.example.com:5000"
        )
    return DOCKER_HUB if host in _HUB_ALIASES else host


class Repository(Struct):
    """A repository at a registry: `docker.io` and `library/nginx`.

    Of a layout on disk, *registry* is its location (`oci:/srv/images`), and *path* is a name in it, or empty.
    """

    registry: str
    path: str

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.path == cast("Repository", other).path and self.registry == cast("Repository", other).registry

    def __hash__(self) -> int:
        return hash(self.path)  # A run has few registries, and a string computes its hash once.

    def __lt__(self, other: "Repository") -> bool:
        return (self.registry, self.path) < (other.registry, other.path)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the repository in *text*; Docker Hub's short forms are completed."""
        if is_layout(text):
            parts = split_layout(text)
            if parts.tag is not None or parts.digest is not None:
                raise InvalidReference(f"{text[:_SHOWN]!r}: a tag or digest where a layout alone is expected")
            return cls._of_layout(parts.location, parts.name)
        first, slash, rest = text.partition("/")
        if slash and looks_like_host(first):
            registry, path = normalise_host(first), rest
        else:
            registry, path = DOCKER_HUB, text
        return cls._checked(registry, path, text)

    @classmethod
    def of(cls, registry: str, path: str) -> Self:
        """Return the repository *path* at *registry*, which may be a name without a dot, such as `harbor`."""
        if is_layout(registry):
            return cls._of_layout(normalise_location(registry), path)
        return cls._checked(normalise_host(registry), path, f"{registry}/{path}")

    def __str__(self) -> str:
        if self.is_layout:
            return f"{self.registry}:{self.path}" if self.path else self.registry
        return f"{self.registry}/{self.path}"

    @property
    def is_layout(self) -> bool:
        """Whether this is a layout on disk, or one name in it."""
        return is_layout(self.registry)

    @classmethod
    def _of_layout(cls, location: str, name: str) -> Self:
        check_name(name, f"{location}:{name}")
        return cls(location, name)

    @classmethod
    def _checked(cls, registry: str, path: str, text: str) -> Self:
        if registry == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if not _PATH.fullmatch(path):
            raise InvalidReference(f"{text[:_SHOWN]!r}: {_why_not_path(path)}")
        if len(registry) + 1 + len(path) > _NAME_LIMIT:
            raise InvalidReference(f"{text[:_SHOWN]!r}: longer than {_NAME_LIMIT} characters")
        return cls(registry, path)

    def tag(self, tag: str) -> "Reference":
        """Return the reference to *tag* in this repository."""
        return Reference(self, tag=tag)

    def at(self, digest: Digest) -> "Reference":
        """Return the reference to *digest* in this repository."""
        return Reference(self, digest=digest)


class Reference(Struct):
    """A tag or a digest in a repository; exactly one of *tag* and *digest* is set."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if (self.tag is None) == (self.digest is None):
            raise InvalidReference(f"{self.repository}: a reference is either a tag or a digest")
        if self.tag is not None and not is_tag(self.tag):
            raise InvalidReference(f"{self.tag[:200]!r}: not a tag; up to 128 letters, digits, '_', '.' and '-'")

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = "latest") -> Self:
        """Return the reference in *text*.

        Without tag and digest it means *default_tag*; if that is None, `InvalidReference`. A tag together with a
        digest is refused, since they may name different content.
        """
        if is_layout(text):
            return cls._parse_layout(text, default_tag)
        name, tag, digest = split_reference(text)
        if tag is not None and digest is not None:
            raise InvalidReference(f"{text[:_SHOWN]!r}: a tag and a digest together; keep one of them")
        repository = Repository.parse(name)
        if digest is not None:
            return cls(repository, digest=Digest.parse(digest))
        if tag is None and default_tag is None:
            raise InvalidReference(f"{text[:_SHOWN]!r}: a tag or a digest is missing")
        return cls(repository, tag=tag if tag is not None else default_tag)

    @classmethod
    def _parse_layout(cls, text: str, default_tag: str | None) -> Self:
        parts = split_layout(text)
        repository = Repository.of(parts.location, parts.name)
        if parts.digest is not None:
            return cls(repository, digest=Digest.parse(parts.digest))
        tag = parts.tag if parts.tag is not None else default_tag
        if tag is None:
            raise InvalidReference(f"{text[:_SHOWN]!r}: a tag or a digest is missing")
        return cls(repository, tag=tag)

    def __hash__(self) -> int:
        # Faster than the generated hash, which hashes every part again: strings cache theirs.
        repository, digest = self.repository, self.digest
        return hash((repository.registry, repository.path, self.tag or (digest and digest.encoded)))

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag is not None else f"{self.repository}@{self.digest}"

    @property
    def identifier(self) -> str:
        """The tag or digest, as a manifest URL contains it."""
        return self.tag if self.tag is not None else str(self.digest)

    def in_repository(self, repository: Repository) -> "Reference":
        """Return the same tag or digest in another repository."""
        return Reference(repository, self.tag, self.digest)


def split_reference(text: str) -> tuple[str, str | None, str | None]:
    """Split *text* into name, tag and digest as written, unchecked; None for a missing part.

    A colon followed by a slash belongs to a port, not to a tag.
    """
    name, at, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag and not (head.startswith("[") and "]" not in head):
        return head, tag, digest if at else None
    return name, None, digest if at else None


def _why_not_path(path: str) -> str:
    if path != path.lower():
        return "a repository name must be lower case"
    if not path or path.endswith("/") or path.startswith("/") or "//" in path:
        return "a part of the repository name is empty"
    return "not a repository name; use lower-case letters and digits, joined by '.', '_', '__' or '-', split by '/'"
