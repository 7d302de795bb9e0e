"""What single vendors want, as data: a table of host patterns, and what was learnt from a registry's answers."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Self

_PATCH_HOSTS: Final = (
    "*.jfrog.io",  # Artifactory takes no content with the closing PUT (RTFACT-19344).
)
"""Registries, by host name without a port, that take the content of a blob in a PATCH alone."""


@dataclass(slots=True)
class Quirks:
    """How one registry wants to be spoken to. *patches*: blobs go in a PATCH; otherwise in the closing PUT.

    *many_tags*: one PUT of a manifest gives it several tags; None as long as nobody has tried.
    """

    patches: bool = False
    many_tags: bool | None = None

    @classmethod
    def of(cls, registry: str) -> Self:
        """Return what is known of *registry* (`host` or `host:port`) before the first word with it."""
        host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
        return cls(patches=any(fnmatchcase(host.lower(), pattern) for pattern in _PATCH_HOSTS))
