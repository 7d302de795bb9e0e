"""JFrog Artifactory's webhooks of the domain `docker`.

How a repository is named at the registry depends on how Artifactory is exposed. So a prefix can be configured: the key
of the virtual repository, or an empty one if the host stands for a repository.
"""

from collections.abc import Mapping
from typing import Final

from image_syncer.events.notification import Notification, ignored, one, push_event, quoted
from image_syncer.events.payload import parse_object, required_text, text_at

_MANIFESTS: Final = frozenset({"manifest.json", "list.manifest.json"})
_CHILDREN: Final = ("sha256:", "sha256__")


def read(registry: str, headers: Mapping[str, str], body: bytes, *, prefix: str | None = None) -> Notification:
    """Return the pushed tag; *prefix* is the path before the image's name, None: the repository's key."""
    del headers
    value = parse_object(body)
    domain, kind = text_at(value, "domain"), text_at(value, "event_type")
    if (domain, kind) != ("docker", "pushed"):
        return ignored(f"event {quoted(kind)} of the domain {quoted(domain)} is not a push")
    tag = text_at(value, "data", "tag")
    if not tag or tag.startswith(_CHILDREN):  # An index is announced with each of its manifests.
        return ignored("a manifest without a tag")
    repository = required_text(value, "data", "repo_key") if prefix is None else prefix
    path = "/".join(part for part in (repository, _image(value)) if part)
    checksum = text_at(value, "data", "sha256")
    return one(push_event(registry, path, tag, digest=checksum and f"sha256:{checksum}"))


def _image(value: object) -> str:
    """Return the image's name: `path` without tag and file, or `image_name` if the path has another shape."""
    parts = text_at(value, "data", "path").split("/")
    if len(parts) > len(("tag", "file")) and parts[-1] in _MANIFESTS:
        return "/".join(parts[:-2])
    return required_text(value, "data", "image_name")
