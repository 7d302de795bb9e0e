"""CloudEvents of any sender: known types by their dialect, others by the usual members for images."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from image_syncer.events.dialects import azure, cdevents, ecr, harbor, zot
from image_syncer.events.dialects.envelope import CloudEvent, entries, event_of
from image_syncer.events.notification import MalformedNotification, Notification, PushEvent, gather, push_event, quoted
from image_syncer.events.payload import text_at
from image_syncer.oci.reference import split_reference

_KNOWN: Final[Mapping[str, Callable[[str, CloudEvent], Notification | PushEvent | str]]] = {
    "Microsoft.ContainerRegistry.ImagePushed": azure.read_entry,
    "com.amazon.ecr.image.push": ecr.read_event,
    "harbor.artifact.pushed": harbor.read_entry,
    "zotregistry.image.updated": zot.read_event,
}
_TYPE_LIMIT: Final = 1000
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ABOUT_IMAGES: Final = ("artifact", "container", "image")
_NO_PUSH: Final = frozenset(
    {"delete", "deleted", "deletion", "remove", "removed", "untag", "untagged", "expire", "expired"}
    | {"pull", "pulled", "scan", "scanned", "scanning", "lint", "linted"}
    | {"attested", "sign", "signed", "signing", "signature", "verified"}
    | {"fail", "failed", "quarantined"}
)


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the tags pushed to *registry*."""
    return gather(entries(headers, body), lambda entry: _read_entry(registry, entry))


def _read_entry(registry: str, entry: object) -> Notification | PushEvent | str:
    event = event_of(entry)
    if event is None:
        raise MalformedNotification("not a CloudEvent: neither ce- headers nor specversion")
    if cdevents.is_artifact_event(event.type):
        return cdevents.read_event(registry, event)
    read_known = _KNOWN.get(event.type)
    return read_known(registry, event) if read_known is not None else _read_generic(registry, event)


def _read_generic(registry: str, event: CloudEvent) -> PushEvent | str:
    words, host = _words(event.type), _first(event.data, "registryUrl", "registry")
    is_about_images = any(word.removesuffix("s").endswith(_ABOUT_IMAGES) for word in words)
    if not is_about_images or words & _NO_PUSH:
        return f"type {quoted(event.type)} is not a push of an image"
    if host and _host_of(host) != registry.lower():
        return f"it is about the registry {quoted(host)}"
    named, named_tag, _ = split_reference(event.subject)
    path = _first(event.data, "repositoryName", "repository") or named
    tag = _first(event.data, "imageTag", "tag") or named_tag
    if not path or not tag:
        return "unrecognised: neither its data nor its subject names a repository and a tag"
    digest = _first(event.data, "imageDigest", "digest")
    return push_event(registry, path, tag, digest=digest, delivery=event.identity)


def _words(kind: str) -> frozenset[str]:
    """Return the words of the type *kind*, such as `com.example.imagePushed`; parts of words do not count."""
    return frozenset(word.lower() for word in _WORD.findall(kind[:_TYPE_LIMIT]))


def _first(data: object, *names: str) -> str:
    return next((text for name in names if (text := text_at(data, name))), "")


def _host_of(host: str) -> str:
    """Return the host of a host or URL, for comparison only."""
    return host.lower().removeprefix("https://").removeprefix("http://").rstrip("/")
