"""Limits that vendors document and that no response announces, by the registry's host name."""

from fnmatch import fnmatchcase
from typing import Final

_LIMITS: Final = (
    ("ghcr.io", "an upload must end within 10 minutes"),
    ("*.dkr.ecr*.*.amazonaws.com*", "a repository has at most 60 000 tags; repositories must exist before a push"),
    ("docker.io", "pulls are counted: HEAD requests are not, GET requests of manifests are"),
)


def known_limits(registry: str) -> tuple[str, ...]:
    """Return the limits of *registry* that its vendor documents."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    return tuple(text for pattern, text in _LIMITS if fnmatchcase(host, pattern))
