"""JFrog Artifactory's webhooks of the domains `docker` and `artifact`.

How a repository is named at the registry depends on how Artifactory is exposed. So a prefix can be configured: the key
of the virtual repository, an empty one if the host stands for a repository, or a map from repository key to prefix.
"""

from collections.abc import Mapping
from typing import Final

from image_syncer.events.notification import Notification, ignored, one, push_event, quoted
from image_syncer.events.payload import parse_object, required_text, text_at

Prefix = str | Mapping[str, str] | None
"""What precedes an image's name: a path, a path by repository key, or None for the repository's own key."""

_MANIFESTS: Final = frozenset({"manifest.json", "list.manifest.json"})
_CHILDREN: Final = ("sha256:", "sha256__")
_PUSHES: Final = frozenset(
    {("docker", "pushed"), ("docker", "promoted"), ("artifact", "deployed"), ("artifact", "copied")}
)


def read(registry: str, headers: Mapping[str, str], body: bytes, *, prefix: Prefix = None) -> Notification:
    """Return the tag that was pushed, deployed, promoted or copied to a repository."""
    del headers
    value = parse_object(body)
    domain, kind = text_at(value, "domain"), text_at(value, "event_type")
    if (domain, kind) not in _PUSHES:
        return ignored(f"event {quoted(kind)} of the domain {quoted(domain)} is not a push")
    key, folders, file = _location(value)
    if domain == "artifact" and (file not in _MANIFESTS or len(folders) < len(("image", "tag"))):
        return ignored("a file that is not a manifest of an image")
    is_located = file in _MANIFESTS and len(folders) >= len(("image", "tag"))
    tag = text_at(value, "data", "tag") or (folders[-1] if is_located else "")
    if not tag or tag.startswith(_CHILDREN):  # An index is announced with each of its manifests.
        return ignored("a manifest without a tag")
    image = "/".join(folders[:-1]) if is_located else required_text(value, "data", "image_name")
    path = "/".join(part for part in (_prefix(prefix, key), image) if part)
    checksum = text_at(value, "data", "sha256")
    return one(push_event(registry, path, tag, digest=checksum and f"sha256:{checksum}"))


def _location(value: object) -> tuple[str, list[str], str]:
    """Return the repository's key, the folders and the name of the file; of a copy those of its target."""
    target = text_at(value, "data", "target_repo_path")
    if target:
        key, *folders = target.strip("/").split("/")
    else:
        key, folders = required_text(value, "data", "repo_key"), text_at(value, "data", "path").split("/")
    return key, folders[:-1], folders[-1] if folders else ""


def _prefix(prefix: Prefix, key: str) -> str:
    """Return what precedes the image's name in the repository *key*."""
    if isinstance(prefix, str):
        return prefix
    return key if prefix is None else prefix.get(key, key)
