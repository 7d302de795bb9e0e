"""How registries take the content of blobs, as data: what is known of some before the first word with them.

What is not in the table is as the specification has it, and what turns out otherwise is learnt (`quirks`).
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Habits:
    """How content goes into an upload session.

    *patches*: all of it goes in PATCHes, and the closing PUT is empty; otherwise that carries the last part, or all.
    *chunks*: it may go in several requests, and go on after a break; otherwise in one.
    *least_bytes* is what every chunk but the last must have, *most_bytes* what any may have (None: no bound is known).
    """

    patches: bool = False
    chunks: bool = True
    least_bytes: int = 0
    most_bytes: int | None = None


_TABLE: Final[tuple[tuple[tuple[str, ...], Habits], ...]] = (
    # Artifactory takes no content with the closing PUT (RTFACT-19344), and is only known to take it in one PATCH.
    (("*.jfrog.io",), Habits(patches=True, chunks=False)),
    # Google's two take one body, in whatever request.
    (("gcr.io", "*.gcr.io", "*.pkg.dev"), Habits(chunks=False)),
    # Amazon's parts have 5 MiB at least (LayerPartTooSmall). It commits with a PATCH that is the whole blob, and then
    # refuses the PUT; what clients that it was made for send with the PUT is nothing.
    (
        ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "public.ecr.aws"),
        Habits(patches=True, least_bytes=5 * MIB),
    ),
)


def habits_of(registry: str) -> Habits:
    """Return the habits of *registry* (`host` or `host:port`)."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    for patterns, habits in _TABLE:
        if any(fnmatchcase(host.lower(), pattern) for pattern in patterns):
            return habits
    return Habits()
