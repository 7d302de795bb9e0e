"""Layouts as users write them: `oci:DIR`, `oci-archive:FILE` and `docker-archive:FILE`, then `[:NAME][:TAG|@DIGEST]`.

A layout on disk takes the place of a registry. It may hold several repositories, each with a name.
"""

import re
from typing import Final

from image_syncer.errors import InvalidReference
from image_syncer.structs import Struct

DIRECTORY: Final = "oci"
ARCHIVE: Final = "oci-archive"
DOCKER_ARCHIVE: Final = "docker-archive"

_PATH_LIMIT: Final = 4096
_NAME_LIMIT: Final = 255
_PREFIXES = tuple(f"{scheme}:" for scheme in (DIRECTORY, ARCHIVE, DOCKER_ARCHIVE))
# A registry that is called `oci` and has a port is written oci:5000/app, as always; oci:// is a URL of other tools.
_SCHEME = re.compile(r"(oci|oci-archive|docker-archive):(?!//|[0-9]{1,5}(?:/|$))")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(?:/[A-Za-z0-9][A-Za-z0-9._:-]*)*")
_DIGEST = re.compile(r"sha(?:256|384|512):[^:@/]*")
_PORT = re.compile(r"[0-9]{1,5}(?:/|$)")


class LayoutText(Struct):
    """The parts of a reference to a layout: *location* is the scheme and the path; *name* is empty without one."""

    location: str
    name: str
    tag: str | None
    digest: str | None


def is_layout(text: str) -> bool:
    """Whether *text* is the location of a layout, or a reference to an image in one."""
    return text.startswith(_PREFIXES) and _SCHEME.match(text) is not None


def scheme_of(location: str) -> str:
    """Return the scheme of *location*, such as `oci`."""
    return location.partition(":")[0]


def path_of(location: str) -> str:
    """Return the path of the directory or file of *location*."""
    return location.partition(":")[2]


def split_layout(text: str) -> LayoutText:
    """Return the parts of *text*; `InvalidReference` if the path is empty. The other parts are not checked.

    What follows the path is a tag if it has neither a slash nor a colon, and no digest follows it.
    """
    scheme, _, rest = text.partition(":")
    before, at, digest = rest.rpartition("@")
    has_digest = bool(at) and _DIGEST.fullmatch(digest) is not None
    path, _, reference = (before if has_digest else rest).partition(":")
    location = normalise_location(f"{scheme}:{path}", text)
    name, tag = (reference, None) if has_digest else _split_name(reference)
    return LayoutText(location, name, tag, digest if has_digest else None)


def normalise_location(location: str, text: str | None = None) -> str:
    """Return *location* with a plain path; `InvalidReference`, which names *text*, if it has none."""
    scheme, _, path = location.partition(":")
    if not path:
        raise InvalidReference(f"{text or location!r}: the path is missing", remedy=f"write {scheme}:PATH[:TAG]")
    if ":" in path or not path.isprintable() or len(path) > _PATH_LIMIT:
        raise InvalidReference(
            f"{(text or location)[:200]!r}: the path of a layout has no colon, at most {_PATH_LIMIT} characters, "
            "and no line breaks"
        )
    parts = "/".join(part for part in path.split("/") if part not in {"", "."})
    if path.startswith("/"):
        return f"{scheme}:/{parts}"
    return f"{scheme}:./{parts}" if _PORT.match(parts) else f"{scheme}:{parts or '.'}"


def check_name(name: str, text: str) -> None:
    """Raise `InvalidReference`, which names *text*, if *name* cannot be the name of a repository in a layout."""
    if name and (len(name) > _NAME_LIMIT or not _NAME.fullmatch(name)):
        raise InvalidReference(f"{text[:200]!r}: not a name in a layout; write a name such as library/nginx")


def _split_name(reference: str) -> tuple[str, str | None]:
    """Split *reference* into name and tag; a colon that is followed by a slash belongs to a port."""
    head, colon, tag = reference.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    if colon or "/" in reference:
        return reference, None
    return "", reference or None
