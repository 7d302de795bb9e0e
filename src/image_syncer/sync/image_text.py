"""References of images as other tools write them: with a tag and a digest together, or with parts to fill in."""

import re
from typing import Final

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.oci.reference import is_tag, split_reference
from image_syncer.structs import Struct

ARTIFACT_SCHEME: Final = "oci://"

_TRANSPORTS: Final = ("docker://", "docker-pullable://", ARTIFACT_SCHEME)
_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\$[({A-Za-z_]|<[^<>]*>|%[A-Za-z_]\w*%|__[A-Z]\w*__")
_NO_NAME: Final = re.compile(r"[0-9]+|null|true|false|~", re.IGNORECASE)
_SHOWN: Final = 200


class ParsedImage(Struct):
    """The *reference* in a text; *tag* if the text has both a tag and a digest, *explicit* if it has either."""

    reference: Reference
    tag: str | None
    explicit: bool


def parse_image(text: str) -> ParsedImage:
    """Return the image in *text*, whose default tag is `latest`; `InvalidReference`.

    Of `app:1.2@sha256:...` the digest decides what is read, and the tag is the name at the target.
    """
    image = text.strip()
    for transport in _TRANSPORTS:
        image = image.removeprefix(transport)
    if _NO_NAME.fullmatch(image):
        raise InvalidReference(
            f"{image[:_SHOWN]!r}: a number or a word of YAML, not an image", remedy=f"write docker.io/library/{image}"
        )
    name, tag, digest = split_reference(image)
    if digest is None or tag is None:
        return ParsedImage(Reference.parse(image), None, tag is not None or digest is not None)
    if not is_tag(tag):
        raise InvalidReference(f"{tag[:_SHOWN]!r}: not a tag; up to 128 letters, digits, '_', '.' and '-'")
    return ParsedImage(Repository.parse(name).at(Digest.parse(digest)), tag, explicit=True)


def has_placeholder(text: str) -> bool:
    """Whether a part of *text* is still to be filled in: `{{ }}`, `${X}`, `$(X)`, `<version>`, `%X%`, `__X__`."""
    return _PLACEHOLDER.search(text) is not None


def parse_artifact(location: str) -> Reference:
    """Return the reference of `oci://registry/repository:tag`; `InvalidReference`, also without a tag and a digest.

    Helm writes the `+` of a version as `_` in the tag.
    """
    parsed = parse_image(location.replace("+", "_"))
    if not parsed.explicit:
        raise InvalidReference(f"{location!r}: a tag or a digest is missing", remedy=f"such as {location}:1.2.3")
    return parsed.reference


def parse_value_path(text: str) -> tuple[str, ...]:
    """Return the steps of the path *text*: keys between dots, `*` for any key or item, `[*]` for any item.

    `ValueError` for an empty step.
    """
    steps = text.strip().lstrip("$").lstrip(".").replace("[]", ".*").replace("[*]", ".*").split(".")
    if not all(steps) or any("[" in step or "]" in step for step in steps):
        raise ValueError("not a path, such as spec.image, spec.*.image or spec.components[*].image")
    return tuple(steps)
